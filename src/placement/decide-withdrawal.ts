import { formatDurationMs } from '../model/duration.ts';
import type { NodeState } from './node-state.ts';
import { longestTrouble, type NodeTrouble, restMs } from './node-trouble.ts';
import type { Room } from './room.ts';

export interface WithdrawalFacts {
  /** unset: there is no such Node, and the garbage collector takes what it owned */
  readonly node: NodeState | undefined;
  /** since when we have seen the node without our driver; unset: it has it */
  readonly driverLostSinceMs: number | undefined;
  /** since when we have seen it not ready, where the node does not say it itself */
  readonly notReadySinceMs: number | undefined;
  /** what one of the node's objects says */
  readonly room: Room;
  /** when we saw that it was written; unset: before we looked */
  readonly writtenAtMs?: number | undefined;
  readonly nowMs: number;
  readonly unreachableAfterMs: number;
}

export type WithdrawalDecision =
  | { readonly kind: 'keep'; readonly reason: string }
  /** not yet: to be looked at again then */
  | { readonly kind: 'wait'; readonly afterMs: number; readonly reason: string }
  | { readonly kind: 'withdraw'; readonly cause: NodeTrouble['cause']; readonly reason: string };

/**
 * Whether the room that a node has published counts as none, because nobody is there to give it: the scheduler reads that number and
 * does not ask whether the node has the driver, and would send claims there again and again.
 *
 * What was written a moment ago somebody is there to write, though kubelet may be gone: a process that is cut off from its kubelet
 * only, and puts right what we wrote, is contradicted once in the limit and not once a second.
 */
export function decideWithdrawal(facts: WithdrawalFacts): WithdrawalDecision {
  const { node, room, writtenAtMs, nowMs, unreachableAfterMs } = facts;
  if (node === undefined) return { kind: 'keep', reason: 'it goes away with its Node' };
  if (room.largestBytes === 0n && room.freeBytes === 0n)
    return { kind: 'keep', reason: 'it tells of no room' };
  const trouble = longestTrouble(node, facts, nowMs);
  if (trouble === undefined) return { kind: 'keep', reason: `node ${node.name} is there` };
  const { cause, sinceMs } = trouble;
  const lasted = formatDurationMs(Math.max(nowMs - sinceMs, 0));
  const reason =
    cause === 'driver-lost'
      ? `the driver has not been on this node for ${lasted}`
      : `this node has not been ready for ${lasted}`;
  const afterMs = restMs(Math.max(sinceMs, writtenAtMs ?? sinceMs), unreachableAfterMs, nowMs);
  return afterMs > 0 ? { kind: 'wait', afterMs, reason } : { kind: 'withdraw', cause, reason };
}
