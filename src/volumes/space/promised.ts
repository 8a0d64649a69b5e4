import type { VolumeSpec } from '../../model/volume.ts';

/** What a volume counts for in its pool: a disk that is mounted in it has its own space. */
export function promisedTo({ disk, sizeBytes }: VolumeSpec): bigint {
  return disk === undefined ? sizeBytes : 0n;
}
