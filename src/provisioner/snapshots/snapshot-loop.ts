import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume, VolumeSnapshotContent } from '../../kube/objects.ts';
import { WorkQueue } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import type { ControllerCapability } from '../../model/csi-driver.ts';
import { messageOf } from '../../model/errors.ts';
import { every } from '../../model/every.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { uidOf } from '../../claims/claim-facts.ts';
import type { SourceRef } from '../../claims/data-source.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { isNews } from './content-facts.ts';
import { ContentReconciler } from './content-reconciler.ts';
import { ContentWatches } from './content-watches.ts';
import { ContentWrites } from './content-writes.ts';

/** csi-snapshotter's. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };
const resyncMs = 15 * 60_000;
const workers = 10;

export interface SnapshotLoopOptions {
  readonly api: KubeApi;
  readonly volumes: Pick<ClusterView, 'volumesOfHandle'>;
  readonly own: OwnSide;
  readonly ledger: VolumeLedger | undefined;
  readonly capabilities: ReadonlySet<ControllerCapability>;
  readonly calls: DriverCalls;
  readonly events: OutcomeEvents;
  /** told of each snapshot of the driver, on any node, that has become ready: its VolumeSnapshot says so within a moment */
  readonly onSource?: (ref: SourceRef) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * csi-snapshotter's job for the snapshots of one node. A cluster without snapshots' custom resources costs a look each minute; what is
 * installed later is noticed.
 */
export class SnapshotLoop {
  readonly #options: SnapshotLoopOptions;
  readonly #contents: ContentWatches;
  readonly #queue: WorkQueue;
  readonly #undo: (() => void)[] = [];

  constructor(options: SnapshotLoopOptions) {
    this.#options = options;
    const { clock, log, metrics } = options;
    this.#contents = new ContentWatches(options);
    const writes = new ContentWrites({
      ...options,
      store: (content) => this.#contents.putContent(content),
    });
    const reconciler = new ContentReconciler({ ...options, contents: this.#contents, writes });
    this.#queue = new WorkQueue({
      name: 'snapshotcontents',
      reconcile: (name, signal) => reconciler.reconcile(name, signal),
      workers,
      backoff,
      clock,
      log,
      metrics,
    });
    this.#listen();
  }

  /** Returns at once: nothing else waits for what a cluster may not have. */
  start(signal: AbortSignal): void {
    const { clock, log, ledger } = this.#options;
    if (ledger !== undefined)
      this.#undo.push(ledger.onRemoved((id) => this.#addAll(this.#contents.contentsOfHandle(id))));
    this.#undo.push(every(clock, resyncMs, () => this.#addAll(this.#contents.contents())));
    signal.addEventListener('abort', () => this.#undo.splice(0).forEach((undo) => undo()), { once: true });
    this.#contents.start(signal).then(
      () => this.#queue.start(signal),
      (error: unknown) => {
        this.#queue.start(signal);
        if (!signal.aborted) log.error({ err: messageOf(error) }, 'snapshots are not looked after');
      },
    );
  }

  /** A PV came: what is to be captured of it may be ours. */
  onVolume(volume: PersistentVolume): void {
    this.#addAll(this.#contents.contentsOfSource(volume.spec.csi?.volumeHandle ?? ''));
  }

  /** Resolves when the signal has aborted and no call is under way any more. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  measure(): void {
    this.#queue.measure();
    this.#contents.measure(this.#options.metrics);
  }

  #listen(): void {
    const { own, events } = this.#options;
    this.#contents.onContent(({ previous, current }) => {
      if (current !== undefined && isNews(previous, current, own.topologyValue)) this.#addAll([current]);
      if (current?.status?.readyToUse === true && previous?.status?.readyToUse !== true)
        this.#tellReady(current);
      if (previous === undefined || (current !== undefined && uidOf(previous) === uidOf(current))) return;
      events.forget(uidOf(previous));
      this.#queue.forget(previous.metadata.name);
      this.#addAll([previous]);
    });
    this.#contents.onClass((name) => this.#addAll(this.#contents.contentsOfClass(name)));
  }

  #tellReady({ spec: { driver, volumeSnapshotRef: ref } }: VolumeSnapshotContent): void {
    const { own, onSource } = this.#options;
    const { namespace = '', name = '' } = ref;
    if (driver === own.driverName) onSource?.({ kind: 'snapshot', namespace, name });
  }

  #addAll(contents: Iterable<VolumeSnapshotContent>): void {
    for (const { metadata, spec } of contents)
      if (spec.driver === this.#options.own.driverName) this.#queue.add(metadata.name);
  }
}
