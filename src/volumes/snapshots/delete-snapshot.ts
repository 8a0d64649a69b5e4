import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { isSnapshotId } from '../../model/snapshot-id.ts';
import type { Pool } from '../pools/pool.ts';
import { locateSnapshot } from './locate-snapshot.ts';
import { callError, type VolumeEnvironment } from '../volume-environment.ts';
import { waitUntilRemoved } from '../trash/wait-until-removed.ts';

/**
 * CSI DeleteSnapshot, as DeleteVolume: the snapshot moves to its pool's trash, and the call waits until its last byte is gone.
 * One that is still being copied is given up. Unknown ids are success, once it is certain that no pool of this node has them.
 *
 * @throws StorageError 'invalid-argument' | 'busy' while a restore reads it | 'pool-unavailable' | 'still-removing' | 'cannot-erase' |
 *   'data-loss'
 */
export async function deleteSnapshot(
  environment: VolumeEnvironment,
  snapshotId: string,
  call: CallContext,
): Promise<void> {
  if (snapshotId === '') {
    throw new StorageError('invalid-argument', 'no snapshot id is given; name the snapshot');
  }
  if (!isSnapshotId(snapshotId)) return; // never one of ours
  const { pools, locks, holds, copies } = environment;
  try {
    const taken = await locks.run(snapshotId, 'its deletion', async () => {
      holds.requireFree(snapshotId);
      await copies.cancel(snapshotId, call);
      const holder = (): Pool | undefined => pools.open().find((pool) => pool.trash.holds(snapshotId));
      // only where neither knows it is it worth looking for pools that are missing
      const located = locateSnapshot(pools.open(), snapshotId);
      if (located === undefined && holder() !== undefined) return holder();
      const found = await pools.findSnapshot(snapshotId);
      if (found === undefined) return holder();
      const { pool } = found;
      const forget = (): void => {
        pool.snapshotRecords.forget(snapshotId);
        environment.spaceChanged.tell();
      };
      try {
        await pool.trash.take(pool.snapshots, snapshotId);
      } catch (error) {
        // moved, though perhaps not durably: it counts in the trash, and not here as well until somebody repeats
        if (!(await pool.snapshots.exists(snapshotId))) forget();
        throw error;
      }
      await environment.reached?.('taken', snapshotId);
      forget();
      return pool;
    });
    if (taken !== undefined) await waitUntilRemoved(environment, taken, snapshotId, call);
  } catch (error) {
    throw callError(error, call, `deleting snapshot ${snapshotId}`);
  }
}
