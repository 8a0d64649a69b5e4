import type { KubeApi } from '../../kube/kube-api.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { classNameOfVolume, type OwnSide } from '../../claims/volume-facts.ts';
import type { Clock } from '../../model/clock.ts';
import { every } from '../../model/every.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { decideForeign } from './decide-foreign.ts';
import { VolumeDestruction } from './destroy-volume.ts';
import { VolumeJudge } from './judge-volume.ts';
import { VolumeRecycling } from './recycle-volume.ts';
import { RefusedEnds } from './refused-ends.ts';
import { RetainedVolumes } from './retained-volumes.ts';
import { RetentionPressure } from './retention-pressure.ts';
import type { SharedHandles } from './shared-handles.ts';
import { StandDown } from './stand-down.ts';
import { VolumeReconciler } from './volume-reconciler.ts';
import { VolumeWrites } from './volume-writes.ts';

/** Room may go without a word, to what is not ours on the disk; a namespace's cap may be passed by a volume newly retained. */
const checkMs = 30_000;

export interface ReclaimLoopOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly own: OwnSide;
  readonly calls: DriverCalls;
  readonly events: OutcomeEvents;
  readonly sharedHandles: SharedHandles;
  /** unset: another driver's volumes, which can be destroyed and retained, but not recycled */
  readonly ledger: VolumeLedger | undefined;
  /** unset where it could not be read */
  readonly clusterUid: string | undefined;
  /** share of a pool; unset: never */
  readonly retainedYieldBelow?: number;
  /** unset: no cap */
  readonly retainedPerNamespaceBytes?: bigint;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What becomes of this node's volumes when their claims are gone: the parts, put together. */
export class ReclaimLoop {
  readonly #options: ReclaimLoopOptions;
  readonly #reconciler: VolumeReconciler;
  readonly #refusals: RefusedEnds;
  readonly #retained = new RetainedVolumes();
  readonly #pressure: RetentionPressure | undefined;

  constructor(options: ReclaimLoopOptions) {
    this.#options = options;
    const { ledger, retainedYieldBelow = 0, retainedPerNamespaceBytes = 0n } = options;
    this.#refusals = new RefusedEnds(options);
    const shared = { ...options, refusals: this.#refusals, retained: this.#retained };
    const writes = new VolumeWrites(options);
    const destruction = new VolumeDestruction(shared);
    const recycling = new VolumeRecycling(shared);
    const standDown = new StandDown({ ...shared, writes, destruction, recycling });
    const judge = new VolumeJudge({
      ...options,
      wasUsed: (volumeId) => ledger?.wasUsed(volumeId) ?? true,
      heldOf: (volumeId) => ledger?.heldOf(volumeId) ?? [],
    });
    this.#reconciler = new VolumeReconciler({
      ...shared,
      judge,
      writes,
      destruction,
      recycling,
      standDown,
      takeOver: (volume, signal) => this.#takeOver(volume, signal),
      close: (volumeId) => ledger?.close(volumeId) ?? (() => {}),
    });
    const limits = { retainedYieldBelow, retainedPerNamespaceBytes };
    if (ledger !== undefined && (retainedYieldBelow > 0 || retainedPerNamespaceBytes > 0n))
      this.#pressure = new RetentionPressure({ ...shared, ledger, ...limits });
  }

  async #takeOver(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { ledger, clusterUid, calls, log } = this.#options;
    const { volumeHandle } = volume.spec.csi ?? {};
    if (ledger === undefined || clusterUid === undefined || volumeHandle === undefined) return;
    if (decideForeign(volume, ledger.heldOf(volumeHandle), clusterUid) === undefined) return;
    const className = classNameOfVolume(volume);
    const owner = { clusterUid, ...(className === '' ? {} : { className }) };
    await calls.within('taking the volume over', signal, (call) => ledger.adopt(volumeHandle, owner, call));
    log.info(
      { persistentVolume: volume.metadata.name, volumeId: volumeHandle },
      'a volume of another cluster has a claim here, and is of this one',
    );
  }

  reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    return this.#reconciler.reconcile(name, signal);
  }

  /** What was in the way of a PV's end is gone, as far as its keeper knows. */
  forgetTries(name: string): void {
    this.#refusals.forgetTries(name);
  }

  /** A pool may have more or less room than before. */
  checkRoom(): void {
    this.#pressure?.check();
  }

  /** @returns how to stop looking */
  start(signal: AbortSignal): () => void {
    this.#pressure?.start(signal);
    return every(this.#options.clock, checkMs, () => this.checkRoom());
  }

  async idle(): Promise<void> {
    await this.#pressure?.idle();
  }

  measure(): void {
    this.#retained.measure(this.#options.metrics);
  }
}
