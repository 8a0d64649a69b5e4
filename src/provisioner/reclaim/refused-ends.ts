import type { EventReason } from '../../claims/event-reasons.ts';
import { backOffMs } from '../../kube/back-off.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import { classNameOfVolume } from '../../claims/volume-facts.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { statusCodeOf } from '../../model/status-code.ts';
import { describeDriverError } from '../driver-calls.ts';
import type { OutcomeEvents } from '../outcome-events.ts';

/**
 * kubelet's unmount follows the pod's end within seconds, and a driver that says ABORTED may only be busy with that unmount.
 * Our own driver tells when kubelet has let go and when the last byte is gone; nobody tells of other people's drivers.
 */
const waits = { baseMs: 1_000, maxMs: 30_000 };

/**
 * Until then a volume in use is no news: a claim deleted with its pod goes before kubelet has unmounted, and kubelet
 * repeats an unmount that failed after 0.5 s, doubling, so that it has tried six times by now. FAILED_PRECONDITION is
 * CSI's word for it; what else a driver may mean by that can be told half a minute later, too.
 */
const patienceMs = 30_000;

export interface RefusalWords {
  /** reason of the Warning event */
  readonly event: EventReason;
  /** counter of failures, by class */
  readonly metric: string;
  /** for the log: what could not be done */
  readonly doing: string;
}

/** What follows from a driver's refusal to delete or to empty a volume: whether it is news, and when to ask again. */
export class RefusedEnds {
  readonly #options: RefusedEndsOptions;
  /** PV name → attempts that found the volume in use, or the driver at work on it */
  readonly #early = new Map<string, number>();
  /** PV name → since when the driver says FAILED_PRECONDITION, which is in use */
  readonly #inUseSinceMs = new Map<string, number>();

  constructor(options: RefusedEndsOptions) {
    this.#options = options;
  }

  refused(volume: PersistentVolume, error: unknown, words: RefusalWords, log: Log): Outcome {
    const { events, metrics } = this.#options;
    const { name } = volume.metadata;
    const code = statusCodeOf(error);
    const text = describeDriverError(error);
    if (code === 'ABORTED') {
      // work in progress is no failure
      log.info({ err: text }, 'the driver is still at work on the volume');
      return this.#later(name);
    }
    metrics.count(words.metric, { class: classNameOfVolume(volume) });
    const patienceLeftMs = code === 'FAILED_PRECONDITION' ? this.#patienceLeftMs(name) : 0;
    if (patienceLeftMs > 0) {
      log.info({ err: text }, 'the driver does not give the volume up yet; waiting');
      return this.#later(name, patienceLeftMs);
    }
    events.warning('PersistentVolume', volume, words.event, text);
    log.warn({ err: text }, `the volume could not be ${words.doing}; trying again`);
    if (code !== 'FAILED_PRECONDITION') return { kind: 'retry' };
    return this.#later(name);
  }

  /** What was in the way is gone, as far as its keeper knows: the next refusal counts as the first. */
  forgetTries(name: string): void {
    this.#early.delete(name);
  }

  /** It was not refused, or the PV is gone. */
  forget(name: string): void {
    this.#early.delete(name);
    this.#inUseSinceMs.delete(name);
  }

  #patienceLeftMs(name: string): number {
    const nowMs = this.#options.clock.nowMs();
    const sinceMs = this.#inUseSinceMs.get(name) ?? nowMs;
    this.#inUseSinceMs.set(name, sinceMs);
    return sinceMs + patienceMs - nowMs;
  }

  #later(name: string, atMostMs = Infinity): Outcome {
    const attempts = (this.#early.get(name) ?? 0) + 1;
    this.#early.set(name, attempts);
    return { kind: 'retry', afterMs: Math.min(backOffMs(attempts, waits), atMostMs) };
  }
}

export interface RefusedEndsOptions {
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly metrics: Metrics;
}
