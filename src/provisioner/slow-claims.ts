import type { Clock } from '../model/clock.ts';

/** How long a claim rests after its driver called it infeasible. */
export const slowRetryMs = 5 * 60_000;

/**
 * Claims that cannot be served as they and their class are (InvalidArgument): tried again slowly, since classes and claims
 * hardly change; a class that was deleted and made anew is another one, and is tried at once.
 */
export class SlowClaims {
  readonly #clock: Clock;
  readonly #resting = new Map<string, { readonly classUid: string; readonly untilMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(claimUid: string, classUid: string): void {
    this.#resting.set(claimUid, { classUid, untilMs: this.#clock.nowMs() + slowRetryMs });
  }

  /** Milliseconds that the claim still rests; 0 = try it. */
  restMs(claimUid: string, classUid: string): number {
    const rest = this.#resting.get(claimUid);
    if (rest === undefined) return 0;
    const leftMs = rest.untilMs - this.#clock.nowMs();
    if (rest.classUid === classUid && leftMs > 0) return leftMs;
    this.#resting.delete(claimUid);
    return 0;
  }

  forget(claimUid: string): void {
    this.#resting.delete(claimUid);
  }
}
