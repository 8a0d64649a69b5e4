import type { Clock } from '../model/clock.ts';

/** Bounds how fast background work may go. Each word waits until that much more may be done. */
export interface Pace {
  /** @throws the signal's reason when it aborts while waiting */
  bytes(count: number, signal: AbortSignal): Promise<void>;
  files(count: number, signal: AbortSignal): Promise<void>;
}

export const unlimitedPace: Pace = {
  bytes: async (_count, signal) => signal.throwIfAborted(),
  files: async (_count, signal) => signal.throwIfAborted(),
};

/**
 * A pace of so many bytes and files a second, shared by everybody who holds it. What was not used is saved up for at
 * most `burstMs`; who asks for more than there is goes into debt and waits it out, so that any count can be asked for.
 */
export function createPace(options: {
  readonly clock: Clock;
  /** unset or 0n: unlimited */
  readonly bytesPerSecond?: bigint;
  /** unset or 0: unlimited */
  readonly filesPerSecond?: number;
  readonly burstMs?: number;
}): Pace {
  const { clock, burstMs = 250 } = options;
  const bytes = new TokenBucket(Number(options.bytesPerSecond ?? 0n), burstMs, clock);
  const files = new TokenBucket(options.filesPerSecond ?? 0, burstMs, clock);
  return {
    bytes: (count, signal) => bytes.take(count, signal),
    files: (count, signal) => files.take(count, signal),
  };
}

class TokenBucket {
  readonly #perMs: number;
  readonly #burstMs: number;
  readonly #clock: Clock;
  /** when everything taken so far would have been done at exactly the rate */
  #dueMs = Number.NEGATIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number, burstMs: number, clock: Clock) {
    this.#perMs = perSecond / 1000;
    this.#burstMs = burstMs;
    this.#clock = clock;
  }

  async take(count: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#perMs <= 0) return;
    const nowMs = this.#clock.nowMs();
    // a clock that was set back must not become a wait
    if (nowMs < this.#lastMs) this.#dueMs -= this.#lastMs - nowMs;
    this.#lastMs = nowMs;
    this.#dueMs = Math.max(this.#dueMs, nowMs - this.#burstMs) + count / this.#perMs;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs <= 0) return;
    await this.#clock.sleep(Math.ceil(waitMs), signal);
    this.#lastMs = this.#clock.nowMs();
  }
}
