import type { CallContext, DeleteVolumeRequest } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { isVolumeId } from '../model/volume-id.ts';
import { describeOwner } from './inline/inline-owner.ts';
import type { LocatedVolume } from './locate-volume.ts';
import type { Pool } from './pools/pool.ts';
import type { InlineOwner } from './records/record.ts';
import { archiveVolume, isToArchive } from './archive/archive-volume.ts';
import { forgetVolume } from './forget-volume.ts';
import { letGo } from './let-go.ts';
import { callError, type VolumeEnvironment } from './volume-environment.ts';
import { poolUuidOf } from './volume-context.ts';
import { waitUntilRemoved } from './trash/wait-until-removed.ts';

/**
 * CSI DeleteVolume. The volume moves to its pool's trash, atomically, and the call waits until its last byte is gone,
 * or answers `still-removing` a second before the deadline; a repeat waits on. One whose class says `onDelete: archive` moves to the
 * archive instead, whole. Unknown ids are success, once it is
 * certain that no pool of this node has them.
 *
 * An inline volume is its pod's, and is refused here whether it is published or not.
 * Killed anywhere: the volume is whole, or in the archive, or in the trash, whose work goes on at the next start.
 * @throws StorageError 'invalid-argument' | 'busy' | 'wrong-pool' | 'in-use' | 'pool-unavailable' | 'still-removing' |
 *   'cannot-erase' | 'data-loss'
 */
export async function deleteVolume(
  environment: VolumeEnvironment,
  request: DeleteVolumeRequest,
  call: CallContext,
): Promise<void> {
  const { volumeId } = request;
  if (volumeId === '') throw new StorageError('invalid-argument', 'no volume id is given; name the volume');
  if (!isVolumeId(volumeId)) return; // never one of ours
  const poolUuid = poolUuidOf(request.volumeContext);
  const doing = `deleting volume ${volumeId}`;
  try {
    const taken = await environment.locks.run(volumeId, 'its deletion', async () => {
      environment.holds.requireFree(volumeId);
      // one that is still being copied from another: nothing of it was ever handed out
      await environment.copies.cancel(volumeId, call);
      const inTrash = holderOf(environment.pools.open(), volumeId, poolUuid);
      const found = environment.pools.locate(volumeId, poolUuid);
      // Only where neither knows it is it worth looking for pools that are missing.
      const located =
        found === undefined && inTrash !== undefined
          ? undefined
          : await environment.pools.find(volumeId, poolUuid);
      if (located === undefined) return inTrash ?? holderOf(environment.pools.open(), volumeId, poolUuid);
      if (located.record.inline !== undefined) throw ofPod(volumeId, located.record.inline);
      if (isToArchive(located.record)) {
        await archiveVolume(environment, located, call);
        // an older one of the id may be in the trash still
        return located.pool;
      }
      await moveToTrash(environment, located, call);
      return located.pool;
    });
    if (taken !== undefined) await waitUntilRemoved(environment, taken, volumeId, call);
  } catch (error) {
    throw callError(error, call, doing);
  }
}

function holderOf(pools: readonly Pool[], volumeId: string, poolUuid: string | undefined): Pool | undefined {
  return pools.find(
    (pool) => (poolUuid === undefined || pool.uuid === poolUuid) && pool.trash.holds(volumeId),
  );
}

/**
 * Moves a volume that nobody uses to its pool's trash; its lock is the caller's to hold. From then on it is deleted, whatever crashes.
 *
 * @throws StorageError 'in-use'
 */
export async function moveToTrash(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<void> {
  const { spec } = record;
  if (await pool.volumes.exists(spec.id)) {
    await letGo(environment, { pool, record }, call);
    await environment.reached?.('released', spec.id);
    try {
      await pool.withReserve(() => pool.trash.take(pool.volumes, spec.id));
    } catch (error) {
      // moved, though perhaps not durably: it counts in the trash, and not here as well until somebody repeats
      if (!(await pool.volumes.exists(spec.id))) await forgetVolume(environment, { pool, record });
      throw error;
    }
    await environment.reached?.('taken', spec.id);
  }
  await forgetVolume(environment, { pool, record });
}

function ofPod(volumeId: string, owner: InlineOwner): StorageError {
  return new StorageError(
    'in-use',
    `volume ${volumeId} belongs to ${describeOwner(owner)} and goes with it; delete the pod`,
  );
}
