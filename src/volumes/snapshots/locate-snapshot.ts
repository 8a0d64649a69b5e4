import { StorageError } from '../../model/errors.ts';
import type { Pool } from '../pools/pool.ts';
import type { SnapshotRecord } from '../records/snapshot-record.ts';

export interface LocatedSnapshot {
  readonly pool: Pool;
  readonly record: SnapshotRecord;
}

/**
 * Finds a snapshot by its id among the open pools. It lies in its source's pool, so that there is one of an id, unless a disk was
 * copied.
 *
 * @returns undefined where no open pool has it
 * @throws StorageError 'data-loss' where its record cannot be read; 'wrong-pool' where two pools have it
 */
export function locateSnapshot(pools: readonly Pool[], snapshotId: string): LocatedSnapshot | undefined {
  const holders = pools.filter(
    ({ snapshotRecords }) => snapshotRecords.get(snapshotId) ?? snapshotRecords.broken(snapshotId),
  );
  const [pool, other] = holders;
  if (pool === undefined) return undefined;
  if (other !== undefined) {
    throw new StorageError(
      'wrong-pool',
      `snapshot ${snapshotId} is in pools ${pool.name} and ${other.name}; take one of the disks away`,
    );
  }
  const record = pool.snapshotRecords.get(snapshotId);
  if (record !== undefined) return { pool, record };
  throw (
    pool.snapshotRecords.broken(snapshotId) ??
    new StorageError('data-loss', `snapshot ${snapshotId} has no record; restore it or move the data away`)
  );
}
