import type { Directory } from '../host/directory.ts';
import { isOursToUndo, noteBegun } from './begun-intents.ts';
import type { CallContext } from '../model/csi-driver.ts';
import { messageOf, StorageError } from '../model/errors.ts';
import type { Consistency, VolumeSpec } from '../model/volume.ts';
import type { VolumePlace } from '../backends/backend.ts';
import type { Placement } from './place-volume.ts';
import type { WantedVolume } from './plan-volume.ts';
import type { Pool } from './pools/pool.ts';
import type { InlineOwner, VolumeRecord } from './records/record.ts';
import { settleAll } from './settle-all.ts';
import { undoVolume } from './trash/undo-volume.ts';
import { backendOf, callError, type VolumeEnvironment } from './volume-environment.ts';

/** Undoing goes on after the caller went away, but not for ever. */
const undoTimeoutMs = 60_000;

/**
 * Gives a volume its first data, in its own directory.
 *
 * @param mayBegin resolves when the intent is written: nothing may be put there before
 */
export type Fill = (
  place: VolumePlace,
  spec: VolumeSpec,
  call: CallContext,
  mayBegin: Promise<void>,
) => Promise<{ readonly consistency?: Consistency }>;

/** Counts a volume as promised. In memory, at once. */
export function reserveVolume(
  { clock, spaceChanged }: VolumeEnvironment,
  wanted: WantedVolume,
  { pool, spec }: Placement,
  inline?: InlineOwner,
): VolumeRecord {
  const { onDelete, scrub, sharing } = wanted.parameters;
  const intent: VolumeRecord = {
    schema: 1,
    name: wanted.name,
    state: 'creating',
    spec,
    parameters: wanted.classParameters,
    ...(wanted.mutable === undefined ? {} : { mutable: wanted.mutable }),
    onDelete,
    scrub,
    sharing,
    ...(wanted.claim === undefined ? {} : { claim: wanted.claim }),
    ...(wanted.clusterUid === undefined ? {} : { clusterUid: wanted.clusterUid }),
    ...(wanted.className === undefined ? {} : { className: wanted.className }),
    ...(inline === undefined ? {} : { inline }),
    ...(wanted.source === undefined ? {} : { source: wanted.source }),
    createdAtMs: clock.nowMs(),
    // no PV will ever speak for an inline volume
    acknowledged: inline !== undefined,
  };
  pool.records.put(intent);
  if (spec.provisioning === 'thick') pool.allocating.set(spec.id, spec.sizeBytes);
  spaceChanged.tell();
  return intent;
}

/**
 * Makes a volume that was reserved: its intent, its data, its record. Its lock, or the job that makes it, keeps everybody else away.
 *
 * @returns the record, durable and in the index
 * @throws StorageError of what failed, whose leftovers are the caller's to undo; 'data-loss' with the fact `isForeign` where
 *   somebody else's folder has that name
 */
export async function makeVolume(
  environment: VolumeEnvironment,
  pool: Pool,
  intent: VolumeRecord,
  fill: Fill,
  call: CallContext,
): Promise<VolumeRecord> {
  const doing = `creating volume ${intent.name}`;
  try {
    if (call.signal.aborted) throw callError(undefined, call, doing);
    noteBegun(intent);
    const directory = await pool.volumes.makePrivateChild(intent.spec.id);
    if (directory === undefined) throw foreignFolder(pool, intent);
    return await writeVolume(environment, pool, intent, directory, fill, call);
  } catch (error) {
    throw callError(error, call, doing);
  } finally {
    pool.allocating.delete(intent.spec.id);
    environment.spaceChanged.tell();
  }
}

/** The same, with nothing left of it after a failure. @throws StorageError as `makeVolume` and `undoMaking` */
export async function makeOrUndo(...making: Parameters<typeof makeVolume>): Promise<VolumeRecord> {
  const [environment, pool, intent] = making;
  try {
    return await makeVolume(...making);
  } catch (error) {
    await undoMaking(environment, pool, intent, StorageError.from(error, `creating volume ${intent.name}`));
    throw error;
  }
}

function foreignFolder(pool: Pool, { spec }: VolumeRecord): StorageError {
  return new StorageError(
    'data-loss',
    `${pool.place(spec.id).path} is there without a record; look at it and move it away`,
    { facts: { isForeign: true } },
  );
}

/** Closes the volume's directory in any case. */
async function writeVolume(
  { reached }: VolumeEnvironment,
  pool: Pool,
  intent: VolumeRecord,
  directory: Directory,
  fill: Fill,
  call: CallContext,
): Promise<VolumeRecord> {
  const { id } = intent.spec;
  try {
    await reached?.('reserved', id);
    // a copy is not begun before its directory is on the disk; elsewhere that shares what the record's flush costs
    const isCopy = intent.source !== undefined;
    const writing = [pool.records.writeIntent(directory, intent), ...(isCopy ? [pool.volumes.sync()] : [])];
    const intended = settleAll(writing).then(() => reached?.('intent', id));
    const filling = fill(pool.place(id), intent.spec, call, intended);
    // for people, and put right by the next start where the commit does not follow
    const linking = intended.then(() => pool.claimLinks.add(intent));
    await settleAll([linking, filling]);
    const filled = await filling;
    await reached?.('data', id);
    const record: VolumeRecord = { ...intent, ...filled, state: 'ready' };
    // flushed together, so that they share what a flush costs: the directory's, after the record, covers the data in it, too
    await settleAll([pool.records.write(directory, record), ...(isCopy ? [] : [pool.volumes.sync()])]);
    pool.records.put(record);
    await reached?.('commit', id);
    return record;
  } finally {
    await directory.close();
  }
}

/**
 * Removes what was made, before the caller hears of the failure: after most answers nobody would come back for it.
 *
 * @throws StorageError 'still-removing' where that is not possible now; the intent stays for a repeat or a restart
 */
export async function undoMaking(
  environment: VolumeEnvironment,
  pool: Pool,
  record: VolumeRecord,
  failure?: StorageError,
): Promise<void> {
  const { spec } = record;
  try {
    const backend = backendOf(environment, spec.backend);
    if (isOursToUndo(record, failure)) {
      await undoVolume(pool.volumes, { id: spec.id, spec, backend }, AbortSignal.timeout(undoTimeoutMs));
      await pool.claimLinks.remove(record);
    }
    pool.allocating.delete(spec.id);
    pool.records.forget(spec.id);
    environment.spaceChanged.tell();
  } catch (error) {
    const why = messageOf(error);
    environment.log.error(
      { volumeId: spec.id, pool: pool.name, error: why },
      'half-made volume not removed yet',
    );
    const before = failure === undefined ? `volume ${record.name} was half made` : failure.message;
    throw new StorageError(
      'still-removing',
      `${before}; its leftovers cannot be removed yet (${why}), a repeat tries again`,
      {
        cause: failure ?? error,
      },
    );
  }
}
