import type { LocatedVolume } from './locate-volume.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** Has memory follow the disk: the volume lies in the trash or in the archive, and counts there. Its lock is the caller's to hold. */
export async function forgetVolume(
  { spaceChanged }: Pick<VolumeEnvironment, 'spaceChanged'>,
  { pool, record }: LocatedVolume,
): Promise<void> {
  pool.records.forget(record.spec.id);
  spaceChanged.tell();
  await pool.claimLinks.remove(record);
}
