import { milliseconds, type Spread } from './figures.ts';

/** What deleting may add to anybody's call. */
export const mostAddedMs = 100;

/**
 * What is too much of what a verb took beside the work, compared with the same verb alone; empty: nothing. The worst of each is compared
 * with the worst of the other: a machine that is slow by itself is no failure.
 */
export function tooMuch(what: string, alone: Spread, beside: Spread): string[] {
  return (['p99', 'max'] as const).flatMap((which) => {
    const addedMs = beside[which] - alone[which];
    // also where it cannot be told, for want of calls
    if (addedMs <= mostAddedMs) return [];
    return `${what}: ${milliseconds(addedMs)} added to its ${which}, more than ${milliseconds(mostAddedMs)}`;
  });
}
