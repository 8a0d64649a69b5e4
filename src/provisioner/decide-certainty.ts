import { statusCodeOf, type StatusCode } from '../model/status-code.ts';

const uncertain: ReadonlySet<StatusCode> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
]);

/**
 * Whether a failed change of a volume is certainly not under way any more (external-resizer's final errors). After any other error the
 * same has to be asked for until there is an answer, whatever the claim says meanwhile.
 */
export function isFinal(error: unknown): boolean {
  const code = statusCodeOf(error);
  return code !== undefined && !uncertain.has(code);
}

/** Whether growing to this size soon again is pointless. All of these are final. */
export function isGrowthInfeasible(error: unknown): boolean {
  const code = statusCodeOf(error);
  return code === 'INVALID_ARGUMENT' || code === 'OUT_OF_RANGE' || code === 'NOT_FOUND';
}
