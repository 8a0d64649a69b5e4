import { formatDurationMs } from '../model/duration.ts';
import { messageOf } from '../model/errors.ts';
import { type NodeLossPolicy, parseNodeLoss } from '../model/node-loss.ts';

/** How a node looks to the cluster. */
export type NodePresence =
  | { readonly kind: 'there' }
  /** there is no such Node */
  | { readonly kind: 'gone' }
  /** not ready; `sinceMs` as the Node says it */
  | { readonly kind: 'away'; readonly sinceMs?: number };

export interface LossFacts {
  /** the node's name or topology value, for people */
  readonly nodeName: string;
  readonly presence: NodePresence;
  /** the PV's annotations, as people and processes wrote them */
  readonly policyText: string | undefined;
  readonly lostSinceText: string | undefined;
  readonly poolMissingText: string | undefined;
  /** when the node's process last took our mark off; unset: not that we saw */
  readonly objectedAtMs?: number | undefined;
  /** since when this process has seen the mark as it is */
  readonly markSeenMs?: number | undefined;
  /** what this controller's account has the rights for */
  readonly allowed: AllowedLoss;
  readonly nowMs: number;
}

/** How far a controller may go (--node-loss). */
export type AllowedLoss = 'off' | 'release' | 'recreate';

export type ActingPolicy = Exclude<NodeLossPolicy, { kind: 'keep' }>;
export type LossCause = 'node-gone' | 'not-ready' | 'pool-missing';

export type LossDecision =
  /** nothing is lost, or nobody wants anything done about it; `hasStaleMark`: the PV says otherwise */
  | { readonly kind: 'keep'; readonly hasStaleMark: boolean; readonly reason: string }
  /** what the PV says cannot be read: nothing is done */
  | { readonly kind: 'unreadable'; readonly reason: string }
  /** its node or disk is not there, and what the PV asks for was not allowed to this controller */
  | { readonly kind: 'not-allowed'; readonly reason: string }
  /** the PV has to be marked: from then on the time runs */
  | {
      readonly kind: 'mark';
      readonly sinceMs: number;
      readonly policy: ActingPolicy;
      readonly reason: string;
    }
  | { readonly kind: 'wait'; readonly afterMs: number; readonly reason: string }
  | {
      readonly kind: 'lost';
      readonly cause: LossCause;
      readonly sinceMs: number;
      readonly policy: ActingPolicy;
      readonly reason: string;
    };

/** So long a mark stands before anything follows from it: the node's process, if it lives, takes it off within a moment. */
export const settleMs = 10_000;
/** A process that lives beside a dead kubelet is not asked more often than this. */
const askAgainMs = 60_000;

/**
 * Whether a PV's node, or the disk under it, is lost, and for how long. The time is counted from what stands on the PV and not from
 * what this process remembers, so that it goes on over restarts; a node that is there is never lost, whatever stands on the PV.
 */
export function decideLoss(facts: LossFacts): LossDecision {
  const { presence, policyText, lostSinceText } = facts;
  let policy: NodeLossPolicy;
  try {
    policy = parseNodeLoss(policyText ?? 'keep');
  } catch (error) {
    return { kind: 'unreadable', reason: messageOf(error) };
  }
  const hasMark = lostSinceText !== undefined;
  const mayWrite = facts.allowed !== 'off';
  if (policy.kind === 'keep')
    return { kind: 'keep', hasStaleMark: hasMark && mayWrite, reason: 'its policy is to wait' };
  const isMissed = presence.kind !== 'there' || (!hasMark && facts.poolMissingText !== undefined);
  if (isMissed && !isAllowed(policy, facts.allowed))
    return { kind: 'not-allowed', reason: refusalOf(policy, facts.allowed) };
  if (presence.kind !== 'there') return decideAway(facts, presence, policy);
  const reason = `node ${facts.nodeName} is there`;
  if (hasMark) return { kind: 'keep', hasStaleMark: mayWrite, reason };
  return facts.poolMissingText === undefined
    ? { kind: 'keep', hasStaleMark: false, reason }
    : decideMissing(facts, policy, facts.poolMissingText);
}

function isAllowed(policy: ActingPolicy, allowed: AllowedLoss): boolean {
  return allowed === 'recreate' || (allowed === 'release' && policy.kind === 'release');
}

function refusalOf(policy: ActingPolicy, allowed: AllowedLoss): string {
  const [asked, wanted] =
    policy.kind === 'release' ? ['release-after', 'release'] : ['recreate-empty', 'recreate'];
  return `onNodeLoss: ${asked} needs a controller that may do that: it runs with --node-loss=${allowed}, set controller.nodeLoss to ${wanted} in the chart`;
}

function decideAway(
  facts: LossFacts,
  presence: Exclude<NodePresence, { kind: 'there' }>,
  policy: ActingPolicy,
): LossDecision {
  const { nodeName, lostSinceText, objectedAtMs, nowMs } = facts;
  const what = presence.kind === 'gone' ? 'has been gone' : 'has not been ready';
  const markedMs = Date.parse(lostSinceText ?? '');
  if (Number.isNaN(markedMs)) {
    const quietMs = objectedAtMs === undefined ? 0 : Math.max(askAgainMs, policy.afterMs / 2);
    const askMs = (objectedAtMs ?? 0) + quietMs;
    if (askMs > nowMs) {
      const reason = `the process on node ${nodeName} lives, though its kubelet is not heard`;
      return { kind: 'wait', afterMs: askMs - nowMs, reason };
    }
    const saidMs = presence.kind === 'away' ? (presence.sinceMs ?? nowMs) : nowMs;
    const sinceMs = Math.min(Math.max(saidMs, objectedAtMs ?? saidMs), nowMs);
    return { kind: 'mark', sinceMs, policy, reason: `node ${nodeName} ${what} since ${textOf(sinceMs)}` };
  }
  const settledMs = (facts.markSeenMs ?? nowMs) + Math.min(settleMs, policy.afterMs);
  const cause = presence.kind === 'gone' ? 'node-gone' : 'not-ready';
  return due({
    ...facts,
    cause,
    policy,
    sinceMs: markedMs,
    earliestMs: settledMs,
    what: `node ${nodeName} ${what}`,
  });
}

function decideMissing(facts: LossFacts, policy: ActingPolicy, text: string): LossDecision {
  const sinceMs = Date.parse(text);
  if (Number.isNaN(sinceMs)) {
    const reason = `the annotation that says since when its pool is missing says ${JSON.stringify(text.slice(0, 100))}, which is no time; remove it`;
    return { kind: 'unreadable', reason };
  }
  const what = `the disk pool on node ${facts.nodeName} has been missing`;
  return due({ ...facts, cause: 'pool-missing', policy, sinceMs, earliestMs: sinceMs, what });
}

function due(facts: {
  readonly cause: LossCause;
  readonly policy: ActingPolicy;
  readonly sinceMs: number;
  readonly earliestMs: number;
  readonly what: string;
  readonly nowMs: number;
}): LossDecision {
  const { cause, policy, sinceMs, nowMs, what } = facts;
  const afterMs = Math.max(sinceMs + policy.afterMs, facts.earliestMs) - nowMs;
  const lasted = formatDurationMs(Math.max(nowMs - sinceMs, 0));
  const reason = `${what} since ${textOf(sinceMs)}, for ${lasted}`;
  return afterMs > 0 ? { kind: 'wait', afterMs, reason } : { kind: 'lost', cause, sinceMs, policy, reason };
}

/** As Kubernetes writes times. */
export function textOf(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
}
