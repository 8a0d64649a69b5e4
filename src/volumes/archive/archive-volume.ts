import type { ArchivedVolume } from '../../model/volume-ledger.ts';
import type { OnDelete } from '../../model/class-parameters.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import type { Pool } from '../pools/pool.ts';
import type { VolumeRecord } from '../records/record.ts';
import { waitUntilRemoved } from '../trash/wait-until-removed.ts';
import { forgetVolume } from '../forget-volume.ts';
import { letGo } from '../let-go.ts';
import { callError, type VolumeEnvironment } from '../volume-environment.ts';
import { notArchived, type Archived } from './archive.ts';

/**
 * A disk stays where it is mounted, and would be offered to the next claim from there.
 * @throws StorageError 'invalid-parameter'
 */
export function refuseArchive({ id, disk }: VolumeSpec, onDelete: OnDelete): void {
  if (disk === undefined || onDelete !== 'archive') return;
  throw new StorageError(
    'invalid-parameter',
    `volume ${id} is a mounted disk, whose data cannot be moved to the pool's archive; ` +
      'use onDelete: delete or scrub, or policy Retain, which keeps it',
  );
}

/** Whether deleting it keeps its data. Nobody was ever answered for an intent, and nobody keeps what is being emptied. */
export function isToArchive({ onDelete, state, acknowledged, inline }: VolumeRecord): boolean {
  return onDelete === 'archive' && state === 'ready' && acknowledged && inline === undefined;
}

/**
 * Moves a volume that nobody uses to its pool's archive; its lock is the caller's to hold. Killed anywhere it is whole, in one place or
 * the other, and a repeat ends in the archive.
 *
 * @throws StorageError 'in-use'
 */
export async function archiveVolume(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<void> {
  const { id } = record.spec;
  refuseArchive(record.spec, record.onDelete);
  if (await pool.volumes.exists(id)) {
    await letGo(environment, { pool, record }, call);
    await environment.reached?.('released', id);
    const archivedAtMs = environment.clock.nowMs();
    await pool.records.change(id, (present) => ({ ...present, archivedAtMs }));
    await environment.reached?.('archiving', id);
    try {
      await pool.withReserve(() => pool.archive.take(pool.volumes, { ...record, archivedAtMs }));
    } catch (error) {
      // moved, though perhaps not durably: it counts there, and not here as well until somebody repeats
      if (!(await pool.volumes.exists(id))) await forgetVolume(environment, { pool, record });
      throw error;
    }
    await environment.reached?.('archived', id);
  }
  await forgetVolume(environment, { pool, record });
}

/** Every archived volume of these pools. */
export function archivedOf(pools: readonly Pool[]): readonly ArchivedVolume[] {
  return pools.flatMap((pool) => pool.archive.all().map((archived) => archivedVolume(pool, archived)));
}

function archivedVolume(
  pool: Pool,
  { archiveId, record, archivedAtMs, takenBytes }: Archived,
): ArchivedVolume {
  const { name, spec, claim, clusterUid, className } = record;
  return {
    archiveId,
    volumeId: spec.id,
    name,
    poolName: pool.name,
    poolUuid: pool.uuid,
    path: pool.archive.folder.pathOf(archiveId),
    sizeBytes: spec.sizeBytes,
    takenBytes,
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    ...(className === undefined ? {} : { className }),
    archivedAtMs,
  };
}

/**
 * Removes an archived volume for good, as a person asked: to the trash, and waits until its bytes are gone, as DeleteVolume does.
 *
 * @throws StorageError 'volume-not-found' | 'busy' | 'still-removing' | 'pool-unavailable'
 */
export async function removeArchived(
  environment: VolumeEnvironment,
  archiveId: string,
  call: CallContext,
): Promise<void> {
  const pool = environment.pools.open().find((candidate) => candidate.archive.get(archiveId) !== undefined);
  const found = pool?.archive.get(archiveId);
  if (pool === undefined || found === undefined) throw notArchived(archiveId);
  const { id } = found.record.spec;
  try {
    await environment.pools.check(pool);
    await environment.locks.run(id, 'its removal from the archive', async () => {
      if (pool.archive.get(archiveId) === undefined) throw notArchived(archiveId);
      await pool
        .withReserve(() => pool.trash.take(pool.archive.folder, id, archiveId))
        .catch(async (error: unknown) => {
          // moved all the same, so that the trash has it, and no repeat would find it here
          if (await pool.archive.folder.exists(archiveId)) throw error;
        });
      pool.archive.forget(archiveId);
      environment.spaceChanged.tell();
    });
    await waitUntilRemoved(environment, pool, id, call);
  } catch (error) {
    throw callError(error, call, `removing ${archiveId} from the archive`);
  }
}
