import { StorageError } from '../model/errors.ts';
import type { VolumeSpec } from '../model/volume.ts';

/** @param what it is that has files only. @throws StorageError 'unsupported-capability' */
export function refuseBlock({ accessType }: VolumeSpec, what: string): void {
  if (accessType !== 'block') return;
  throw new StorageError('unsupported-capability', `${what} cannot be a block volume; use backend: loopback`);
}
