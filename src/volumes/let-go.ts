import type { CallContext } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { LocatedVolume } from './locate-volume.ts';
import { usersOfVolume } from './published/users-of-volume.ts';
import { backendOf, type VolumeEnvironment } from './volume-environment.ts';

/**
 * Makes sure that nobody uses a volume, and lets go of what outlived its users. Its lock is the caller's to hold.
 *
 * @throws StorageError 'in-use' | 'pool-unavailable' where a disk is not mounted: what cannot be seen is not destroyed
 */
export async function letGo(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<void> {
  const { spec } = record;
  const users = await usersOfVolume(environment, { pool, record }, call);
  if (users.length > 0) throw inUse(spec.id, users);
  const backend = backendOf(environment, spec.backend);
  await backend.requireData?.(pool.place(spec.id), spec);
  await backend.release(pool.place(spec.id), spec, call.signal);
}

function inUse(volumeId: string, users: readonly string[]): StorageError {
  const some = users.slice(0, 5).join(', ');
  const more = users.length > 5 ? ` and ${users.length - 5} more` : '';
  return new StorageError(
    'in-use',
    `volume ${volumeId} is still in use: ${some}${more}; stop the pods that use it`,
  );
}
