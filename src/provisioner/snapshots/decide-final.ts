import { statusCodeOf, type StatusCode } from '../../model/status-code.ts';

const uncertain: ReadonlySet<StatusCode> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'ABORTED',
]);

/**
 * Whether it is certain after a failed CreateSnapshot that no snapshot is being made. An error that is no CSI answer tells nothing.
 *
 * @param ownDriver Loam's own, which has undone everything when it says RESOURCE_EXHAUSTED; of others that is not known
 */
export function isFinal(error: unknown, ownDriver: boolean): boolean {
  const code = statusCodeOf(error);
  if (code === undefined || uncertain.has(code)) return false;
  return code !== 'RESOURCE_EXHAUSTED' || ownDriver;
}
