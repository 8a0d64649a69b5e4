import { askedWaitMs, isConflict, isNotFound } from '../kube/api-error.ts';
import type { Outcome } from '../kube/work-queue.ts';
import { messageOf } from '../model/errors.ts';

/** The watch brings what was in our way; this is only in case it does not. */
export const conflictMs = 1_000;

/** Pure: a repeat when the API server asked for it, else with back-off. */
export function retryAfter(error: unknown): Outcome {
  const afterMs = askedWaitMs(error);
  return afterMs === undefined ? { kind: 'retry' } : { kind: 'retry', afterMs };
}

/**
 * How a turn ends in which something failed: what is gone needs nothing more, and who was overtaken looks again.
 *
 * @param warn what is neither, told why; it is tried again
 */
export function endFailedTurn(error: unknown, signal: AbortSignal, warn: (why: string) => void): Outcome {
  if (signal.aborted || isNotFound(error)) return { kind: 'done' };
  if (isConflict(error)) return { kind: 'retry', afterMs: conflictMs };
  warn(messageOf(error));
  return retryAfter(error);
}
