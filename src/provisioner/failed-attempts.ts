import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import { SlowClaims } from './slow-claims.ts';

/** What is remembered of the last failure of each claim's change: of its size, or of its attributes. After a restart it is tried anew. */
export class FailedAttempts {
  readonly #slow: SlowClaims;
  /** claims whose last attempt was certainly not under way any more when it failed */
  readonly #endedFinally = new Set<string>();

  constructor(clock: Clock) {
    this.#slow = new SlowClaims(clock);
  }

  /** @param key of what was tried: anything else is tried at once */
  add(
    claimUid: string,
    key: string,
    failure: { readonly isFinal: boolean; readonly isInfeasible: boolean },
  ): void {
    this.forget(claimUid);
    if (failure.isFinal) this.#endedFinally.add(claimUid);
    if (failure.isInfeasible) this.#slow.add(claimUid, key);
  }

  endedFinally(claimUid: string): boolean {
    return this.#endedFinally.has(claimUid);
  }

  /** Milliseconds until the same is worth trying again; 0: now. */
  restMs(claimUid: string, key: string): number {
    return this.#slow.restMs(claimUid, key);
  }

  /** When the same is tried again: after its rest, or with back-off where it has none. */
  retry(claimUid: string, key: string): Outcome {
    const afterMs = this.restMs(claimUid, key);
    return afterMs > 0 ? { kind: 'retry', afterMs } : { kind: 'retry' };
  }

  /** What was infeasible may not be any more. */
  endRest(claimUid: string): void {
    this.#slow.forget(claimUid);
  }

  /** It has succeeded, or is gone. */
  forget(claimUid: string): void {
    this.#slow.forget(claimUid);
    this.#endedFinally.delete(claimUid);
  }
}
