import type { EventReason } from '../../claims/event-reasons.ts';
import type { EventSink } from '../../kube/event-recorder.ts';
import type { PersistentVolumeClaim } from '../../kube/objects.ts';
import { claimRefOf, logFacts, uidOf } from '../../claims/claim-facts.ts';
import { isBoundTo, isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import type { Clock } from '../../model/clock.ts';
import type { ControllerDriver, ListedVolume, VolumeCondition } from '../../model/csi-driver.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { ClusterView } from '../watches.ts';
import { decideConditionNews } from './decide-condition-news.ts';

const roundMs = 60_000;
/** A round that somebody asked for begins so much later, so that many who ask get one. */
const gatherMs = 1_000;
/** Volumes that are looked at in one go, and the pause before the next: 10,000 volumes take some 20 seconds, and hold up nobody. */
const pageSize = 50;
const pauseMs = 100;
const answerMs = 15_000;

/** Where conditions come from: our own driver in this process. */
export type ConditionSource = Pick<ControllerDriver, 'listVolumes'> & {
  /** Calls back when a condition may have changed. Returns how to stop listening. */
  readonly onConditionChanged?: (listener: () => void) => () => void;
};

export interface ConditionLoopOptions {
  readonly source: ConditionSource;
  readonly watches: Pick<ClusterView, 'volumesOfHandle' | 'claim'>;
  readonly own: OwnSide;
  readonly recorder: EventSink<EventReason>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

interface Told {
  readonly claimUid: string;
  readonly condition: VolumeCondition;
}

/**
 * Tells on claims when their volumes become abnormal and when they recover, for the volumes on this node's disks. Nothing is remembered
 * from one process to the next: an abnormal volume is told of once more after a restart.
 */
export class ConditionLoop {
  readonly #options: ConditionLoopOptions;
  /** volume id → what its claim was told */
  readonly #told = new Map<string, Told>();
  #running: Promise<void> | undefined;
  #isAskedFor = false;
  #wake = (): void => {};

  constructor(options: ConditionLoopOptions) {
    this.#options = options;
  }

  /** Looks at once, then each minute, until the signal aborts. */
  start(signal: AbortSignal): void {
    const stop = this.#options.source.onConditionChanged?.(() => this.refresh());
    this.#running = this.#run(signal).finally(() => stop?.());
  }

  /** Something may have changed: looks within a second or so. */
  refresh(): void {
    this.#isAskedFor = true;
    this.#wake();
  }

  /** Resolves when the signal has aborted and nothing is asked any more. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#options;
    while (!signal.aborted) {
      this.#isAskedFor = false;
      try {
        await this.#round(signal);
      } catch (error) {
        if (!signal.aborted)
          log.warn({ err: messageOf(error) }, 'the condition of volumes could not be read');
      }
      try {
        await this.#untilNext(signal);
        if (this.#isAskedFor) await clock.sleep(gatherMs, signal);
      } catch {
        // aborted
      }
    }
  }

  async #untilNext(signal: AbortSignal): Promise<void> {
    if (this.#isAskedFor) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    try {
      await this.#options.clock.sleep(roundMs, AbortSignal.any([signal, woken.signal]));
    } catch {
      // aborted or woken; the caller looks at the signal
    }
    this.#wake = () => {};
  }

  /** All volumes once. One that is listed no more is forgotten, so that nothing is kept of what was deleted. */
  async #round(signal: AbortSignal): Promise<void> {
    const { clock, metrics } = this.#options;
    const seen = new Set<string>();
    let abnormal = 0;
    for (let startingToken = ''; ;) {
      const { entries, nextToken } = await this.#page(startingToken, signal);
      for (const { volume, condition } of entries) {
        if (condition.abnormal) abnormal += 1;
        seen.add(volume.volumeId);
        this.#tell(volume.volumeId, condition);
      }
      if (nextToken === '') break;
      startingToken = nextToken;
      await clock.sleep(pauseMs, signal);
    }
    for (const volumeId of this.#told.keys()) if (!seen.has(volumeId)) this.#told.delete(volumeId);
    metrics.gauge('loam_volume_condition_abnormal', {}, abnormal);
  }

  async #page(
    startingToken: string,
    signal: AbortSignal,
  ): Promise<{ readonly entries: readonly ListedVolume[]; readonly nextToken: string }> {
    const { clock, source } = this.#options;
    const late = new AbortController();
    const cancel = clock.after(answerMs, () => late.abort(new Error('no answer in time')));
    try {
      const call = { signal: AbortSignal.any([signal, late.signal]), deadlineMs: clock.nowMs() + answerMs };
      return await source.listVolumes({ maxEntries: pageSize, startingToken }, call);
    } finally {
      cancel();
    }
  }

  #tell(volumeId: string, condition: VolumeCondition): void {
    const { recorder, log } = this.#options;
    const known = this.#told.get(volumeId);
    const claim = this.#claimOf(volumeId);
    // told as soon as there is one
    if (claim === undefined) return void this.#told.delete(volumeId);
    const claimUid = uidOf(claim);
    // a claim that has the volume anew has been told nothing
    const before = known?.claimUid === claimUid ? known.condition : undefined;
    const news = decideConditionNews(before, condition);
    this.#told.set(volumeId, { claimUid, condition: news === undefined ? (before ?? condition) : condition });
    if (news === undefined) return;
    recorder.record({ kind: 'PersistentVolumeClaim', object: claim }, news.type, news.reason, news.message);
    const facts = { volumeId, ...logFacts(claimRefOf(claim)) };
    if (news.type === 'Warning') log.warn({ ...facts, condition: news.message }, 'a volume is abnormal');
    else log.info(facts, 'a volume is healthy again');
  }

  #claimOf(volumeId: string): PersistentVolumeClaim | undefined {
    const { watches, own } = this.#options;
    for (const volume of watches.volumesOfHandle(volumeId)) {
      const { csi, claimRef } = volume.spec;
      if (csi?.driver !== own.driverName || !isOnNode(volume, own)) continue;
      const { namespace = '', name = '' } = claimRef ?? {};
      const claim = watches.claim({ namespace, name });
      if (claim !== undefined && isBoundTo(volume, claim)) return claim;
    }
    return undefined;
  }
}
