import { tombstone } from '../claims/annotations.ts';
import { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import { every } from '../model/every.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { AllowedLoss } from './decide-loss.ts';
import { LossReconciler } from './loss-reconciler.ts';
import { LossReports } from './loss-reports.ts';
import { LossWrites } from './loss-writes.ts';
import { MarksSeen } from './marks-seen.ts';
import { asksForSomething } from './project.ts';
import { Recreation } from './recreation.ts';
import { LossWatches } from './watches.ts';

/** A rack that fails has thousands of volumes, and none of them is urgent. */
const workers = 4;
const backoff = { baseMs: 500, maxMs: 30_000 };
const resyncMs = 15 * 60_000;
const flushMs = 2_000;

export interface LostNodesOptions {
  readonly api: KubeApi;
  readonly settings: {
    readonly driverName: string;
    /** where tombstones lie */
    readonly namespace: string;
    /** of this process, for the events that it writes */
    readonly identity: string;
    readonly nodeLoss: AllowedLoss;
  };
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * What becomes of volumes whose node, or disk, does not come back, as each PV's annotation says. All that it goes by stands in the API:
 * since when a node is lost on the PV, how far a claim's recreation is in a tombstone; so a new leader goes on where the last one ended.
 */
export class LostNodes {
  readonly #options: LostNodesOptions;
  readonly #watches: LossWatches;
  readonly #marks: MarksSeen;
  readonly #writes: LossWrites;
  readonly #recorder: EventRecorder;
  readonly #reconciler: LossReconciler;
  readonly #queue: WorkQueue;

  constructor(options: LostNodesOptions) {
    this.#options = options;
    const { driverName, namespace, identity } = options.settings;
    this.#watches = new LossWatches({ ...options, driverName });
    this.#marks = new MarksSeen(options.clock);
    this.#writes = new LossWrites({ ...options, namespace });
    this.#recorder = new EventRecorder({ ...options, component: driverName, host: identity });
    const shared = { ...options, writes: this.#writes, reports: new LossReports(this.#recorder) };
    this.#reconciler = new LossReconciler({
      ...shared,
      watches: this.#watches,
      marks: this.#marks,
      allowed: options.settings.nodeLoss,
      recreation: new Recreation(shared),
    });
    this.#queue = new WorkQueue({
      ...options,
      name: 'lost-nodes',
      reconcile: (name, signal) => this.#reconciler.reconcile(name, signal),
      workers,
      backoff,
    });
  }

  /** Works until the signal aborts, and resolves when nothing is under way any more. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    this.#watches.onVolume((change) => {
      this.#marks.note(change);
      // its end too: a claim may wait for it
      const volume = change.current ?? change.previous;
      if (volume !== undefined && asksForSomething(volume)) this.#queue.add(volume.metadata.name);
    });
    this.#watches.onNode((value) => {
      for (const { metadata } of this.#watches.volumesOfNode(value)) this.#queue.add(metadata.name);
    });
    let stop = (): void => {};
    try {
      await this.#watches.start(signal);
      await this.#resume(signal);
      this.#queue.start(signal);
      stop = every(clock, resyncMs, () => {
        for (const volume of this.#watches.volumes())
          if (asksForSomething(volume)) this.#queue.add(volume.metadata.name);
        void this.#resume(signal);
      });
      await this.#queue.idle();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      stop();
      const late = new AbortController();
      const cancel = clock.after(flushMs, () => late.abort());
      await this.#recorder.flush(late.signal).finally(cancel);
    }
  }

  /** Sets the gauges that are only worth computing for a scrape. */
  measure(): void {
    this.#queue.measure();
  }

  /** Claims that an earlier process did not see through. Never rejects: what cannot be read now is looked for again. */
  async #resume(signal: AbortSignal): Promise<void> {
    // its account may not even look
    if (this.#options.settings.nodeLoss === 'off') return;
    try {
      for (const { object, stone } of await this.#writes.tombstones(signal, tombstone)) {
        const isOurs = stone.driverName === this.#options.settings.driverName;
        if (!isOurs || stone.recreation !== 'pending') continue;
        this.#reconciler.resume(stone.volumeName, object.metadata.name);
        this.#queue.add(stone.volumeName);
      }
    } catch (error) {
      if (!signal.aborted)
        this.#options.log.warn(
          { err: messageOf(error) },
          'could not look for claims to be made anew; later again',
        );
    }
  }
}
