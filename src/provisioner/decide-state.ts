import { statusCodeOf, type StatusCode } from '../model/status-code.ts';

/**
 * What is known of a volume after a failed attempt (upstream's classes).
 * - `finished`: certainly none is being made
 * - `in-background`: one may exist or come to exist, so the claim is carried through
 * - `no-change`: the driver was not asked, whatever was known before still holds
 * - `reschedule`: none was made, and another node has to be chosen
 */
export type ProvisionState = 'finished' | 'in-background' | 'no-change' | 'reschedule';

const uncertain: ReadonlySet<StatusCode> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'ABORTED',
]);

/** The state after CreateVolume failed. An error that is no CSI answer tells nothing: the volume may be there. */
export function decideState(error: unknown, nodeWasSelected: boolean): ProvisionState {
  const code = statusCodeOf(error);
  if (code === undefined || uncertain.has(code)) return 'in-background';
  if (code === 'RESOURCE_EXHAUSTED' && nodeWasSelected) return 'reschedule';
  return 'finished';
}

/** Whether trying again soon is pointless: the class or the claim asks for what cannot be. */
export function isInfeasible(error: unknown): boolean {
  return statusCodeOf(error) === 'INVALID_ARGUMENT';
}
