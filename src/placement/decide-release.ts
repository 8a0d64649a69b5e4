import { formatDurationMs } from '../model/duration.ts';
import type { NodeState } from './node-state.ts';
import { longestTrouble, type NodeTrouble, restMs } from './node-trouble.ts';

export interface ReleaseFacts {
  readonly nodeName: string;
  /** unset: there is no such Node */
  readonly node: NodeState | undefined;
  /** since when we have seen the node without our driver; unset: it has it */
  readonly driverLostSinceMs: number | undefined;
  /** since when we have seen it not ready, where the node does not say it itself */
  readonly notReadySinceMs: number | undefined;
  /** since when the claim has waited for this node; unset: since before we looked */
  readonly selectedSinceMs?: number | undefined;
  /** a PV of the claim's own name, or one whose claimRef names it */
  readonly hasVolume: boolean;
  readonly nowMs: number;
  readonly unreachableAfterMs: number;
}

export type ReleaseCause = 'node-gone' | NodeTrouble['cause'];

export type ReleaseDecision =
  | { readonly kind: 'keep'; readonly reason: string }
  /** not yet: to be looked at again then */
  | { readonly kind: 'wait'; readonly afterMs: number; readonly reason: string }
  | { readonly kind: 'release'; readonly cause: ReleaseCause; readonly reason: string };

/**
 * Whether a claim that waits for a node is let go, because the node will not serve it: the scheduler considers no other node while one
 * is selected, so its pod would wait for ever. A claim that has a volume is never let go, since its data is on that node.
 */
export function decideRelease(facts: ReleaseFacts): ReleaseDecision {
  const { nodeName, node, nowMs, unreachableAfterMs } = facts;
  if (facts.hasVolume) return { kind: 'keep', reason: 'the claim has a volume' };
  if (node === undefined) return release('node-gone', `node ${nodeName} is not there any more`);
  const trouble = longestTrouble(node, facts, nowMs);
  if (trouble === undefined) return { kind: 'keep', reason: `node ${nodeName} can serve it` };
  const { cause, sinceMs } = trouble;
  const what = cause === 'driver-lost' ? 'has not had the driver' : 'has not been ready';
  const reason = `node ${nodeName} ${what} for ${formatDurationMs(Math.max(nowMs - sinceMs, 0))}`;
  // who selected a node that was away already may have no other, as for a DaemonSet's pod: that claim is not handed to and fro
  const afterMs = restMs(Math.max(sinceMs, facts.selectedSinceMs ?? sinceMs), unreachableAfterMs, nowMs);
  if (afterMs > 0) return { kind: 'wait', afterMs, reason };
  return release(cause, reason);
}

function release(cause: ReleaseCause, reason: string): ReleaseDecision {
  return { kind: 'release', cause, reason };
}
