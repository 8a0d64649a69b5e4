import type { Absence } from './node-absences.ts';
import type { NodeState } from './node-state.ts';

/** What keeps a node from serving anybody. */
export interface NodeTrouble {
  readonly cause: 'driver-lost' | 'not-ready';
  readonly sinceMs: number;
}

/** The trouble that has lasted longest; undefined where the node has our driver and is ready. */
export function longestTrouble(node: NodeState, absence: Absence, nowMs: number): NodeTrouble | undefined {
  const troubles: NodeTrouble[] = [];
  if (!node.hasDriver) troubles.push({ cause: 'driver-lost', sinceMs: absence.driverLostSinceMs ?? nowMs });
  if (!node.isReady) {
    const sinceMs = node.notReadySinceMs ?? absence.notReadySinceMs ?? nowMs;
    troubles.push({ cause: 'not-ready', sinceMs });
  }
  return troubles.toSorted((a, b) => a.sinceMs - b.sinceMs)[0];
}

/**
 * How long to wait until something has lasted for longer than the limit; 0: it has. Other clocks count in whole milliseconds, and some
 * are ahead of ours: never less than one, nor more than the limit.
 */
export function restMs(sinceMs: number, limitMs: number, nowMs: number): number {
  const lastedMs = nowMs - sinceMs;
  return lastedMs > limitMs ? 0 : Math.min(limitMs - lastedMs, limitMs) + 1;
}

/** Whether a trouble of the node has lasted for longer than the limit. */
export function isAway(node: NodeState, absence: Absence, nowMs: number, limitMs: number): boolean {
  const trouble = longestTrouble(node, absence, nowMs);
  return trouble !== undefined && restMs(trouble.sinceMs, limitMs, nowMs) === 0;
}
