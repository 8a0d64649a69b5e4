import type { CallContext } from '../../model/csi-driver.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { backendOf, type VolumeEnvironment } from '../volume-environment.ts';

/**
 * What uses a volume on this node, by a text for people each; empty: nobody can write to it. Its lock is the caller's to hold. A
 * loop device that outlived a crash is let go of, one that is staged is not.
 */
export async function usersOfVolume(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<readonly string[]> {
  const { spec } = record;
  const staged = await environment.publications.liveAt(spec.id);
  if (staged.length > 0) return staged.map((publication) => publication.path);
  const backend = backendOf(environment, spec.backend);
  const place = pool.place(spec.id);
  const users = await backend.users(place, spec);
  if (users.length === 0) return [];
  await backend.release(place, spec, call.signal);
  return backend.users(place, spec);
}
