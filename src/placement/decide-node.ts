import { classAdmits } from '../claims/class-facts.ts';
import type { StorageClass } from '../kube/objects.ts';
import { formatBytes } from '../model/quantity.ts';
import { nodeSegments } from '../model/topology.ts';
import { hashOf, lotOf } from './lots.ts';
import type { NodeState } from './node-state.ts';
import type { Room } from './room.ts';

/** One node, as a claim sees it. */
export interface Candidate {
  readonly node: NodeState;
  /** undefined: it publishes nothing for the class */
  readonly room: Room | undefined;
  /** given by us to other claims, and not shown in `room` yet */
  readonly promisedBytes: bigint;
  /** it has given this claim back and is not asked again for so long; 0 = it may be asked */
  readonly refusedForMs: number;
}

export interface NodeFacts {
  /** `namespace/name` */
  readonly claim: string;
  readonly requestedBytes: bigint;
  readonly storageClass: StorageClass;
  readonly candidates: readonly Candidate[];
}

/** Why a node is not the one, most lasting first. */
export type Obstacle =
  | 'not-allowed'
  | 'no-driver'
  | 'not-ready'
  | 'cordoned'
  | 'tainted'
  | 'unpublished'
  | 'no-room'
  | 'too-small'
  | 'promised'
  | 'refused';

export interface Verdict {
  readonly candidate: Candidate;
  readonly obstacle: Obstacle;
}

export type NodeDecision =
  | { readonly kind: 'place'; readonly node: NodeState; readonly reason: string }
  | {
      readonly kind: 'nowhere';
      readonly verdicts: readonly Verdict[];
      /** when a node that only says "not now" may be asked again; unset: when something changes */
      readonly againInMs?: number;
    };

/** As long as a promise lasts where nothing is heard of it. */
export const promiseMs = 10_000;

/**
 * The node for a claim that binds at once: of those that may have it and have the room, the one with most left. Among equals the
 * claim's name decides, so that a burst of claims does not fall upon one node.
 */
export function decideNode(facts: NodeFacts): NodeDecision {
  const mayUseTainted = everyNodeIsTainted(facts);
  const claimHash = hashOf(facts.claim);
  const verdicts: Verdict[] = [];
  let best: Candidate | undefined;
  for (const candidate of facts.candidates) {
    const obstacle = obstacleOf(candidate, facts, mayUseTainted);
    if (obstacle !== undefined) verdicts.push({ candidate, obstacle });
    else if (best === undefined || isBetter(candidate, best, claimHash)) best = candidate;
  }
  if (best === undefined) {
    const againInMs = soonest(verdicts);
    return { kind: 'nowhere', verdicts, ...(againInMs === undefined ? {} : { againInMs }) };
  }
  const { node } = best;
  return {
    kind: 'place',
    node,
    reason: `of ${facts.candidates.length} nodes ${node.name} has most room: ${formatBytes(leftBytes(best))}`,
  };
}

/**
 * Whether any node has the room for a claim whose first pod will choose: what else keeps nodes away is the scheduler's to say. A class
 * of which nothing is published is not known to have none.
 */
export function decideAdvice(facts: NodeFacts): NodeDecision | { readonly kind: 'fits' } {
  const { candidates, requestedBytes } = facts;
  const fits = candidates.some(({ room }) => room !== undefined && room.largestBytes >= requestedBytes);
  if (fits || candidates.every(({ room }) => room === undefined)) return { kind: 'fits' };
  const isTold = everyNodeIsTainted(facts);
  const verdicts = candidates.map((candidate): Verdict => {
    const unpromised = { ...candidate, promisedBytes: 0n, refusedForMs: 0 };
    return { candidate: unpromised, obstacle: obstacleOf(unpromised, facts, isTold) ?? 'too-small' };
  });
  return { kind: 'nowhere', verdicts };
}

/** Whether a node that might be the one says nothing of its room, as nodes do in the first moment of a class. */
export function mayPublishSoon(facts: NodeFacts): boolean {
  const mayUseTainted = everyNodeIsTainted(facts);
  return facts.candidates.some((each) => obstacleOf(each, facts, mayUseTainted) === 'unpublished');
}

/** Nodes for storage alone are often all tainted: then the taint is no reason to prefer another. */
function everyNodeIsTainted({ candidates, storageClass }: NodeFacts): boolean {
  return !candidates.some(
    ({ node }) => node.taint === undefined && node.hasDriver && isAllowed(node, storageClass),
  );
}

function obstacleOf(
  { node, room, promisedBytes, refusedForMs }: Candidate,
  { storageClass, requestedBytes }: NodeFacts,
  mayUseTainted: boolean,
): Obstacle | undefined {
  if (!isAllowed(node, storageClass)) return 'not-allowed';
  if (!node.hasDriver) return 'no-driver';
  if (!node.isReady) return 'not-ready';
  if (node.isCordoned) return 'cordoned';
  if (node.taint !== undefined && (node.taint.isLifecycle || !mayUseTainted)) return 'tainted';
  if (room === undefined) return 'unpublished';
  if (room.largestBytes === 0n) return 'no-room';
  if (room.largestBytes < requestedBytes) return 'too-small';
  if (room.freeBytes - promisedBytes < requestedBytes) return 'promised';
  return refusedForMs > 0 ? 'refused' : undefined;
}

function isAllowed(node: NodeState, storageClass: StorageClass): boolean {
  // nearly every class admits all, and a claim may look at thousands of nodes
  if (storageClass.allowedTopologies === undefined) return true;
  return classAdmits(storageClass, nodeSegments(node.topologyValue));
}

function leftBytes({ room, promisedBytes }: Candidate): bigint {
  return (room?.freeBytes ?? 0n) - promisedBytes;
}

function isBetter(one: Candidate, other: Candidate, claimHash: number): boolean {
  const [left, otherLeft] = [leftBytes(one), leftBytes(other)];
  if (left !== otherLeft) return left > otherLeft;
  const [lot, otherLot] = [lotOf(claimHash, one.node.nameHash), lotOf(claimHash, other.node.nameHash)];
  return lot === otherLot ? one.node.name > other.node.name : lot > otherLot;
}

function soonest(verdicts: readonly Verdict[]): number | undefined {
  const waits = verdicts.flatMap(({ obstacle, candidate }) => {
    if (obstacle === 'promised') return [promiseMs];
    return obstacle === 'refused' ? [candidate.refusedForMs] : [];
  });
  return waits.length === 0 ? undefined : Math.min(...waits);
}
