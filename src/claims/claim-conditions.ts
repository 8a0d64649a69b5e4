import type { ClaimCondition, PersistentVolumeClaim } from '../kube/objects.ts';

/** A condition as it should be: its times are filled in where it is merged. */
export interface WantedCondition {
  readonly type: string;
  readonly reason?: string;
  readonly message?: string;
}

/**
 * A claim's conditions with those of `owned` types replaced by `wanted`, all of status True; everybody else's stay as they are. A
 * condition that says the same as before keeps its time of transition.
 */
export function mergeConditions(
  claim: PersistentVolumeClaim,
  owned: ReadonlySet<string>,
  wanted: readonly WantedCondition[],
  nowMs: number,
): ClaimCondition[] {
  const known = claim.status?.conditions ?? [];
  const others = known.filter(({ type }) => !owned.has(type));
  return [...others, ...wanted.map((condition) => timed(condition, known, nowMs))];
}

/** The owned conditions that stand, to be kept beside new ones. */
export function standingConditions(
  claim: PersistentVolumeClaim,
  owned: ReadonlySet<string>,
): readonly WantedCondition[] {
  const known = claim.status?.conditions ?? [];
  return known.filter(({ type, status }) => owned.has(type) && status === 'True');
}

export function hasCondition(claim: PersistentVolumeClaim, type: string): boolean {
  return (claim.status?.conditions ?? []).some(
    (condition) => condition.type === type && condition.status === 'True',
  );
}

function timed(
  { type, reason, message }: WantedCondition,
  known: readonly ClaimCondition[],
  nowMs: number,
): ClaimCondition {
  const before = known.find((condition) => condition.type === type);
  const isSame = before?.status === 'True' && before.reason === reason;
  return {
    type,
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: (isSame ? before.lastTransitionTime : undefined) ?? new Date(nowMs).toISOString(),
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined ? {} : { message }),
  };
}
