import type { Directory } from '../host/directory.ts';
import { temporaryPrefix, writeDurably } from '../host/durable-file.ts';
import { removeFile } from '../host/entries.ts';
import type { CallContext } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { isVolumeId, type VolumeId } from '../model/volume-id.ts';
import { refuseInline } from './require-served.ts';
import { letGo } from './let-go.ts';
import type { LocatedVolume } from './locate-volume.ts';
import type { Pool } from './pools/pool.ts';
import { acknowledgedName, usedName } from './records/record-store.ts';
import { formatRecord, recordName, type VolumeRecord } from './records/record.ts';
import { waitUntilRemoved } from './trash/wait-until-removed.ts';
import { backendOf, callError, type VolumeEnvironment } from './volume-environment.ts';
import { notHere } from './not-here.ts';

/** Beside the record, while the old data is on its way to the trash: an entry of it, with a record of its own. */
const oldName = 'old';

/** What of a volume's directory is not its data. */
const markNames: readonly string[] = [recordName, acknowledgedName, usedName];

export interface RecycleRequest {
  readonly volumeId: string;
  readonly poolUuid?: string;
  /** goes on with what was begun, and leaves what was not */
  readonly onlyBegun?: boolean;
}

/**
 * Destroys a volume's data as its record says, and makes it anew in place: empty, of the same id, size and shape, and nobody's. An
 * archive is for volumes that are deleted: here its data is removed. One that was never used and began empty is left as it is.
 *
 * On disk: the record says `recycling`, which nothing serves; the data moves to the trash as an entry of its own; when that is
 * destroyed the data is made anew and the record says `ready`. Killed anywhere, a repeat begins again with whatever lies in place,
 * and ends in the same state.
 * @throws StorageError 'volume-not-found' | 'wrong-pool' | 'in-use' | 'busy' | 'still-removing' a second before the deadline, when the
 *   trash goes on by itself and a repeat joins | 'cannot-erase' | 'out-of-space' | 'pool-unavailable' | 'data-loss'
 */
export async function recycleVolume(
  environment: VolumeEnvironment,
  request: RecycleRequest,
  call: CallContext,
): Promise<void> {
  const { volumeId, poolUuid, onlyBegun = false } = request;
  if (!isVolumeId(volumeId)) throw notHere(volumeId);
  try {
    const begun = await environment.locks.runInTurn(volumeId, 'its recycling', call.signal, async () => {
      const located = await findRecyclable(environment, volumeId, poolUuid);
      if (onlyBegun && located.record.state !== 'recycling') return undefined;
      return (await empty(environment, located, call)) ? located : undefined;
    });
    if (begun === undefined) return;
    await waitUntilRemoved(environment, begun.pool, volumeId, call);
    await environment.locks.runInTurn(volumeId, 'its recycling', call.signal, async () => {
      const { pool } = await findRecyclable(environment, volumeId, begun.pool.uuid);
      const record = pool.records.get(volumeId);
      if (record?.createdAtMs !== begun.record.createdAtMs) throw notHere(volumeId);
      // whoever waited beside us may have been first, and somebody else may use it already
      if (record.state === 'recycling') await renew(environment, { pool, record }, call);
    });
  } catch (error) {
    throw callError(error, call, `recycling volume ${volumeId}`);
  }
}

async function findRecyclable(
  environment: VolumeEnvironment,
  volumeId: VolumeId,
  poolUuid: string | undefined,
): Promise<LocatedVolume> {
  const found = await environment.pools.find(volumeId, poolUuid);
  if (found === undefined || found.record.state === 'creating') throw notHere(volumeId);
  refuseInline(found.record);
  return found;
}

/** Whether there is nothing in it, nor ever was. */
function isUntouched({ state, used, source }: VolumeRecord): boolean {
  return state === 'ready' && used !== true && source === undefined;
}

/** Has the old data in the trash. @returns false where there is none to destroy */
async function empty(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<boolean> {
  const { id } = record.spec;
  environment.holds.requireFree(id);
  if (isUntouched(record)) return false;
  await letGo(environment, { pool, record }, call);
  if (record.state === 'ready') {
    await pool.records.change(id, begunOf);
    environment.spaceChanged.tell();
    await environment.reached?.('recycling', id);
  }
  // a link that leads people to another claim's data is worse than none
  await pool.claimLinks.remove(record);
  await moveOut(environment, pool, begunOf(record));
  return true;
}

/** It has a PV, or it would not be recycled; and its data is no claim's any more, so nobody adopts it by that claim's name. */
function begunOf(record: VolumeRecord): VolumeRecord {
  const { claim: _, ...rest } = record;
  return { ...rest, state: 'recycling', acknowledged: true };
}

/** Whatever lies in place: the old data, or what an earlier try left. */
async function moveOut(environment: VolumeEnvironment, pool: Pool, record: VolumeRecord): Promise<void> {
  const { id } = record.spec;
  const directory = await pool.volumes.openChild(id);
  try {
    // one that is whole already, but for its move
    if (await directory.exists(oldName)) await takeOld(environment, pool, directory, id);
    const names = (await directory.names()).filter(isData);
    if (names.length === 0) return;
    await pool.withReserve(() => gather(directory, names, record));
    await environment.reached?.('gathered', id);
    await takeOld(environment, pool, directory, id);
  } finally {
    await directory.close();
  }
}

/** The record goes first, so that whatever is in there is destroyed as it says. */
async function gather(directory: Directory, names: readonly string[], record: VolumeRecord): Promise<void> {
  const old = await directory.ensureChild(oldName, 0o700);
  try {
    await writeDurably(old, recordName, formatRecord(record));
    for (const name of names) if (await directory.exists(name)) await directory.rename(name, old, name);
  } finally {
    await old.close();
  }
}

async function takeOld(
  environment: VolumeEnvironment,
  pool: Pool,
  directory: Directory,
  id: VolumeId,
): Promise<void> {
  await pool.withReserve(() => pool.trash.take(directory, id, oldName));
  // what the image had taken of its promise is the trash's now
  pool.records.noteAllocated(id, 0n);
  pool.records.noteShared(id, 0n);
  await environment.reached?.('emptied', id);
}

function isData(name: string): boolean {
  return !markNames.includes(name) && name !== oldName && !name.startsWith(temporaryPrefix);
}

/** Makes the data anew, once the old is gone. */
async function renew(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  call: CallContext,
): Promise<void> {
  const { spec } = record;
  const directory = await pool.volumes.openChild(spec.id);
  if (spec.provisioning === 'thick') pool.allocating.set(spec.id, spec.sizeBytes);
  try {
    if ((await directory.names()).some((name) => isData(name) || name === oldName)) {
      // a try of somebody else's failed after we looked
      throw new StorageError('busy', `volume ${spec.id} is being recycled by another call; repeat the call`);
    }
    await backendOf(environment, spec.backend).create(pool.place(spec.id), spec, call);
    await environment.reached?.('remade', spec.id);
    const renewed = renewedOf(record);
    await removeFile(directory, usedName);
    // flushes the directory too: the data in it, and that it was never used
    await pool.withReserve(() => pool.records.write(directory, renewed));
    pool.records.put(renewed);
    await environment.reached?.('renewed', spec.id);
  } finally {
    pool.allocating.delete(spec.id);
    environment.spaceChanged.tell();
    await directory.close();
  }
}

/** Empty, so it is no copy of anything any more. */
function renewedOf(record: VolumeRecord): VolumeRecord {
  const {
    source: _source,
    consistency: _consistency,
    archivedAtMs: _archivedAtMs,
    ...rest
  } = begunOf(record);
  return { ...rest, state: 'ready', used: false };
}
