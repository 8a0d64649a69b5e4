import { StorageError } from '../../model/errors.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/** One archived volume and the pool in whose archive it lies. */
export interface FoundInArchive {
  readonly pool: Pool;
  readonly archiveId: string;
  readonly volumeId: VolumeId;
}

/**
 * Finds a volume in the archives: by its folder's name, or by its id where only one was archived under it.
 *
 * @throws StorageError 'invalid-argument' naming them, where several were
 */
export function findInArchive(pools: readonly Pool[], name: string): FoundInArchive | undefined {
  const all = pools.flatMap((pool) =>
    pool.archive.all().map(({ archiveId, record }) => ({ pool, archiveId, volumeId: record.spec.id })),
  );
  const exact = all.filter(({ archiveId }) => archiveId === name);
  const ofId = all.filter(({ volumeId }) => volumeId === name);
  // an older one of the same id has the plain name, so that the name alone does not say which is meant
  const found = ofId.length > 0 ? ofId : exact;
  if (found.length <= 1) return found[0];
  const names = found.map(({ archiveId, pool }) => `${archiveId} (pool ${pool.name})`).join(', ');
  throw new StorageError(
    'invalid-argument',
    `several volumes ${name} are in the archive: ${names}; remove those that nobody wants, or name the newer one by its time`,
  );
}

/**
 * Makes an archived volume one of its pool again; the lock of its id is the caller's to hold. Whole in one place or the other, wherever
 * it is killed.
 *
 * @throws StorageError 'already-exists-different' where a volume has its id by now
 */
export async function takeFromArchive(
  { pools, spaceChanged, reached }: VolumeEnvironment,
  { pool, archiveId, volumeId }: FoundInArchive,
): Promise<void> {
  await pools.check(pool);
  if (pool.archive.get(archiveId) === undefined) return;
  const other = pools
    .open()
    .find(({ records }) => (records.get(volumeId) ?? records.broken(volumeId)) !== undefined);
  if (other !== undefined || (await pool.volumes.exists(volumeId))) {
    throw new StorageError(
      'already-exists-different',
      `volume ${volumeId} exists in pool ${(other ?? pool).name} beside the archived ${archiveId}; delete it first`,
    );
  }
  try {
    pool.records.put(await pool.archive.giveBack(archiveId, pool.volumes));
  } catch (error) {
    // moved all the same, so that a repeat has to find it here
    if (await pool.volumes.exists(volumeId)) await pool.records.load(volumeId);
    throw error;
  }
  pool.lookAtImages();
  spaceChanged.tell();
  await reached?.('commit', volumeId);
}
