import { CommandError } from '../host/run.ts';

/** What a kernel, a mount or a right that is lacking is told by: asking again would say the same. */
const lacking =
  /operation not permitted|permission denied|not supported|not implemented|unknown filesystem type|invalid option|unrecognized option/i;
const lackingCodes: ReadonlySet<unknown> = new Set(['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']);

/**
 * Whether what ended a probe says nothing about the node and may be gone at the next try: a command that was killed, timed out or met a
 * full or failing disk. Not so where a program, a right or a kernel's feature is missing.
 */
export function mayPass(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof CommandError && (at.isMissing || lacking.test(at.stderr))) return false;
    if ('code' in at && lackingCodes.has(at.code)) return false;
  }
  return true;
}

/** For a probe's answer. */
export function provisionalBy(error: unknown): { readonly isProvisional?: true } {
  return mayPass(error) ? { isProvisional: true } : {};
}
