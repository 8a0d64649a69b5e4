import { mountCovering, type Mount } from '../host/mountinfo.ts';

/** Why nothing can be written to the pool's file system, as a sentence; undefined: it can. */
export function poolFault(mounts: readonly Mount[], path: string): string | undefined {
  const covering = mountCovering(mounts, path);
  if (covering === undefined) return `${path} lies on no mount that this process can see`;
  const isReadonly = covering.options.includes('ro') || covering.superOptions.includes('ro');
  if (!isReadonly) return undefined;
  return `the pool's file system at ${covering.mountPoint} is read-only; look for disk errors in the kernel log`;
}
