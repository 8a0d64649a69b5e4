import type { Clock } from '../model/clock.ts';
import { ApiError, ApiUnreachable, askedWaitMs } from './api-error.ts';
import { backOffMs } from './back-off.ts';
import { RequestTimeout } from './http.ts';

const retries = 3;
const waits = { baseMs: 100, maxMs: 2_000 };
/** A server that asks for more patience than this gets it from the caller's back-off, not from here. */
const longestWaitMs = 10_000;

/** Reads may be repeated whenever the next try could go better. */
export function mayRepeatRead(error: unknown): boolean {
  if (error instanceof ApiUnreachable) return !(error.cause instanceof RequestTimeout);
  return error instanceof ApiError && (error.status === 429 || (error.status >= 500 && error.status !== 501));
}

/** Writes only when the server said that it did nothing: after anything else the caller has to look first. */
export function mayRepeatWrite(error: unknown): boolean {
  return error instanceof ApiError && error.status === 429;
}

/** Repeats `attempt` up to three times, waiting as long as the server asks or a growing while. */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  mayRepeat: (error: unknown) => boolean,
  clock: Clock,
  signal: AbortSignal,
): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      const waitMs = Math.max(askedWaitMs(error) ?? 0, backOffMs(failures, waits));
      if (failures > retries || signal.aborted || !mayRepeat(error) || waitMs > longestWaitMs) throw error;
      await clock.sleep(waitMs, signal);
    }
  }
}
