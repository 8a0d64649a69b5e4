import { isConflict, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { retainedUntil } from '../../claims/annotations.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { decideEarlyEnd, type EarlyEnd } from './decide-early-end.ts';
import { decideReclaim } from './decide-reclaim.ts';
import type { RetainedVolumes } from './retained-volumes.ts';

/** A burst of changes is one round. */
const soonMs = 1_000;

export interface RetentionPressureOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly own: OwnSide;
  readonly ledger: Pick<VolumeLedger, 'rooms' | 'heldOf'>;
  readonly retained: RetainedVolumes;
  readonly events: OutcomeEvents;
  /** share of a pool below which retained volumes give way; 0: never */
  readonly retainedYieldBelow: number;
  /** 0n: no cap */
  readonly retainedPerNamespaceBytes: bigint;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Ends retentions before their time where room is short. An end is written into the PV as its `retained-until`, for the PV as it was
 * judged: an undelete in the same moment wins or loses, never both; and a crash afterwards changes nothing.
 */
export class RetentionPressure {
  readonly #options: RetentionPressureOptions;
  #cancel: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #signal: AbortSignal | undefined;

  constructor(options: RetentionPressureOptions) {
    this.#options = options;
  }

  start(signal: AbortSignal): void {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#cancel?.(), { once: true });
  }

  /** Something changed: looks at everything once more, in a moment. */
  check(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted || this.#cancel !== undefined) return;
    if (this.#options.retained.isEmpty) return;
    this.#cancel = this.#options.clock.after(soonMs, () => {
      this.#cancel = undefined;
      this.#running = this.#running.then(() => this.#round(signal));
    });
  }

  idle(): Promise<void> {
    return this.#running;
  }

  /** Never rejects. */
  async #round(signal: AbortSignal): Promise<void> {
    const { ledger, retained, retainedYieldBelow, retainedPerNamespaceBytes, log } = this.#options;
    try {
      const rooms = await ledger.rooms();
      const ends = decideEarlyEnd({
        retained: retained.retained((volumeId) =>
          // it moves to the archive; or it is a mounted disk, which has its own room
          ledger
            .heldOf(volumeId)
            .some(({ onDelete, backend }) => onDelete === 'archive' || backend === 'disk'),
        ),
        leaving: retained.leaving(),
        rooms,
        yieldBelowShare: retainedYieldBelow,
        perNamespaceBytes: retainedPerNamespaceBytes,
      });
      for (const end of ends) await this.#end(end, signal);
    } catch (error) {
      if (!signal.aborted) log.warn({ err: messageOf(error) }, 'retained volumes could not be made to yield');
    }
  }

  async #end({ name, why }: EarlyEnd, signal: AbortSignal): Promise<void> {
    const { api, watches, own, clock, events, metrics, log } = this.#options;
    const volume = watches.volume(name);
    if (volume === undefined) return;
    const nowMs = clock.nowMs();
    // undeleted, or changed by a person, since it was noted
    if (decideReclaim(volume, own, [], nowMs).kind !== 'retain') return;
    const annotations = { [retainedUntil]: new Date(nowMs).toISOString() };
    const body = { metadata: { resourceVersion: volume.metadata.resourceVersion, annotations } };
    try {
      // the watch has it reclaimed
      await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal);
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) return;
      throw error;
    }
    metrics.count('loam_retentions_ended_early_total', {});
    events.warning('PersistentVolume', volume, 'RetentionEnded', `retained no longer: ${why}`);
    log.warn({ persistentVolume: name, why }, 'a retention ends early');
  }
}
