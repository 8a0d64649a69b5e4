import type { Clock } from '../model/clock.ts';

export interface BackOffRange {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * How long to wait before retry number `failures` (1 = the first): doubling from `baseMs`, never above `maxMs`, shortened at random by up
 * to a quarter so that many waiters do not come back together.
 */
export function backOffMs(failures: number, range: BackOffRange, random: () => number = Math.random): number {
  const doublings = Math.min(Math.max(failures - 1, 0), 52);
  const fullMs = Math.min(range.maxMs, range.baseMs * 2 ** doublings);
  return fullMs * (1 - random() / 4);
}

/** Sleeps, or stops sleeping when the signal aborts: for loops that look at the signal themselves. */
export async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(delayMs, signal);
  } catch {
    // aborted
  }
}
