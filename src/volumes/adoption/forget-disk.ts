import type { CallContext } from '../../model/csi-driver.ts';
import { isReason, StorageError } from '../../model/errors.ts';
import { CsiError } from '../../model/status-code.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { ForgottenDisk } from '../../model/volume-ledger.ts';
import { forgetVolume } from '../forget-volume.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { notHere } from '../not-here.ts';
import type { Pool } from '../pools/pool.ts';
import { usersOfVolume } from '../published/users-of-volume.ts';
import { backendOf, callError, type VolumeEnvironment } from '../volume-environment.ts';
import type { ForgottenNote } from './forgotten-disks.ts';
import { disksLock } from './known-disks.ts';

/** The record of a volume, or a deleted one that waits in the trash for its disk. */
interface Lost {
  readonly pool: Pool;
  readonly spec: VolumeSpec;
  readonly give: () => Promise<void>;
}

/** @throws where anything stands for a volume of this pool */
export type RequireUnowned = (poolUuid: string) => Promise<void>;

/**
 * Gives up a volume whose disk is away and does not come back, or what waits in the trash for such a disk to be emptied. No disk is
 * touched. The pool keeps a note, and the disk, should it turn up after all, is no volume again before a person adopts it by hand.
 *
 * Killed anywhere: the record is where it was, or the note; what a volume that was being emptied has in the trash follows with a repeat.
 * @param requireUnowned asked last, for each pool that has something of the volume
 * @throws StorageError 'volume-not-found' | 'invalid-argument' where it is no disk | 'in-use' also where its disk is there | 'busy' |
 *   'wrong-pool' | 'pool-unavailable' of the pool | 'data-loss'; what `requireUnowned` throws
 */
export async function forgetDisk(
  environment: VolumeEnvironment,
  volumeId: string,
  requireUnowned: RequireUnowned,
  call: CallContext,
): Promise<ForgottenDisk> {
  const { locks, holds } = environment;
  try {
    return await locks.runInTurn(disksLock, 'the forgetting of one', call.signal, () =>
      locks.run(volumeId, 'its being forgotten', async () => {
        holds.requireFree(volumeId);
        const found = await findLost(environment, volumeId, call);
        if (found.length === 0) return alreadyForgotten(environment, volumeId);
        for (const { pool, spec } of found) await requireAway(environment, pool, spec);
        for (const { uuid } of new Set(found.map(({ pool }) => pool))) await requireUnowned(uuid);
        for (const { give } of found) {
          await give();
          await environment.reached?.('forgotten', volumeId);
        }
        return alreadyForgotten(environment, volumeId);
      }),
    );
  } catch (error) {
    throw error instanceof CsiError ? error : callError(error, call, `forgetting volume ${volumeId}`);
  }
}

/** The record first: a volume whose old data alone was given up would pass for one that is empty by now. */
async function findLost(
  environment: VolumeEnvironment,
  volumeId: string,
  call: CallContext,
): Promise<readonly Lost[]> {
  const { pools } = environment;
  const isDoomed = pools.open().some(({ trash }) => trash.holds(volumeId));
  const isNoted = notesOf(environment, volumeId).length > 0;
  const located = pools.locate(volumeId) ?? (isDoomed || isNoted ? undefined : await pools.find(volumeId));
  const found: Lost[] = [];
  if (located !== undefined) {
    await pools.check(located.pool);
    if (located.record.spec.disk === undefined) throw noDisk(volumeId, located.record.spec.backend);
    const [user] = await usersOfVolume(environment, located, call);
    if (user !== undefined) {
      throw new StorageError(
        'in-use',
        `volume ${volumeId} is still in use: ${user}; stop the pods that use it`,
      );
    }
    found.push({
      pool: located.pool,
      spec: located.record.spec,
      give: () => giveRecord(environment, located),
    });
  }
  for (const pool of pools.open()) {
    const doomed = pool.trash.entries().filter(({ id }) => id === volumeId);
    for (const { name, spec } of doomed) {
      await pools.check(pool);
      if (spec?.disk === undefined) throw noDisk(volumeId, spec?.backend);
      found.push({ pool, spec, give: () => giveDoomed(pool, name) });
    }
  }
  return found;
}

async function requireAway(environment: VolumeEnvironment, pool: Pool, spec: VolumeSpec): Promise<void> {
  const { id, disk } = spec;
  try {
    await backendOf(environment, spec.backend).requireData?.(pool.place(id), spec);
  } catch (error) {
    if (isReason(error, 'pool-unavailable')) return;
    throw error;
  }
  const how = pool.trash.holds(id)
    ? 'it is being emptied, and is gone when that is over'
    : `loam gc --remove ${id} deletes it`;
  throw new StorageError(
    'in-use',
    `the disk of volume ${id} is mounted at ${disk?.entry ?? ''} of the discovery folder and is not forgotten: ${how}; ` +
      'if it is broken, unmount it first (umount --lazy), and repeat',
  );
}

async function giveRecord(environment: VolumeEnvironment, { pool, record }: LocatedVolume): Promise<void> {
  const { id } = record.spec;
  try {
    await pool.withReserve(() => pool.forgottenDisks.take(pool.volumes, id));
  } catch (error) {
    // moved, though perhaps not durably
    if (!(await pool.volumes.exists(id))) await forgetVolume(environment, { pool, record });
    throw error;
  }
  await forgetVolume(environment, { pool, record });
}

function giveDoomed(pool: Pool, name: string): Promise<void> {
  return pool.trash.giveUp(name, (trash) => pool.withReserve(() => pool.forgottenDisks.take(trash, name)));
}

/** Of one that was given up before there is nothing left to do. */
function alreadyForgotten(environment: VolumeEnvironment, volumeId: string): ForgottenDisk {
  const [note] = notesOf(environment, volumeId);
  if (note === undefined) throw notHere(volumeId);
  const { type, uuid, entry } = note.disk;
  return { volumeId, type, uuid, entry };
}

function notesOf({ pools }: VolumeEnvironment, volumeId: string): readonly ForgottenNote[] {
  return pools
    .open()
    .flatMap(({ forgottenDisks }) => forgottenDisks.all())
    .filter(({ spec }) => spec.id === volumeId);
}

function noDisk(volumeId: string, backend: string | undefined): StorageError {
  const what = backend === undefined ? 'cannot be read' : `says backend ${backend}`;
  return new StorageError(
    'invalid-argument',
    `volume ${volumeId} is no mounted disk (its record ${what}), and only those are forgotten; loam gc --dry-run says what can be done`,
  );
}
