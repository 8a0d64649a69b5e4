import type { CallContext, CreateSnapshotRequest, DriverSnapshot } from '../../model/csi-driver.ts';
import { isReason, messageOf, StorageError } from '../../model/errors.ts';
import { isOursToUndo } from '../begun-intents.ts';
import type { CopyJob } from '../copies/copy-jobs.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import { sourceNotFound } from '../copies/find-source.ts';
import { planSnapshot, reserveSnapshot, type SnapshotPlan } from './plan-snapshot.ts';
import type { Pool } from '../pools/pool.ts';
import { readSnapshotRequest, type WantedSnapshot } from './read-snapshot-request.ts';
import type { SnapshotRecord } from '../records/snapshot-record.ts';
import { undoVolume } from '../trash/undo-volume.ts';
import { backendOf, callError, type VolumeEnvironment } from '../volume-environment.ts';
import { writeSnapshot } from './write-snapshot.ts';

/** Undoing goes on after the caller went away, but not for ever. */
const undoTimeoutMs = 60_000;

/** A snapshot that is there, or the copy that makes it. */
type Outcome = { readonly record: SnapshotRecord } | { readonly job: CopyJob };

/**
 * CSI CreateSnapshot. Idempotent by name. A copy that shares its source's blocks is there when the call answers; one that has to
 * be copied in full goes on in the background: the call answers that it is not ready a second before its deadline, and the same
 * call asks again. Its failure is told to whoever asks next.
 *
 * On disk: an intent, then the data, then the intent becomes the record by a rename. Killed anywhere, either the record says `ready`
 * and everything is there, or recovery removes it. An error leaves nothing behind, `still-removing` excepted.
 * @throws StorageError 'invalid-argument' | 'invalid-parameter' | 'source-not-found' | 'already-exists-different' | 'busy' |
 *   'unsupported-capability' | 'not-consistent' | 'out-of-space' | 'pool-unavailable' | 'still-removing' | 'data-loss'
 */
export async function createSnapshot(
  environment: VolumeEnvironment,
  request: CreateSnapshotRequest,
  call: CallContext,
): Promise<DriverSnapshot> {
  const wanted = readSnapshotRequest(request);
  const { id, name, sourceVolumeId } = wanted;
  try {
    const outcome = await environment.locks.run(id, 'its making', async () => {
      const settled = await settleExisting(environment, wanted, await environment.pools.usable());
      if (settled !== undefined) return settled;
      if (!isVolumeId(sourceVolumeId)) throw sourceNotFound({ kind: 'volume', volumeId: sourceVolumeId });
      // whoever stages, deletes or grows the source waits for the moment that this takes
      return environment.locks.runInTurn(sourceVolumeId, `snapshot ${name} of it`, call.signal, () =>
        begin(environment, wanted, call),
      );
    });
    if ('record' in outcome) return driverSnapshotOf(outcome.record);
    return await join(environment, id, outcome.job, call);
  } catch (error) {
    throw callError(error, call, `making snapshot ${name} of volume ${sourceVolumeId}`);
  }
}

/** The snapshot as CSI tells it. */
export function driverSnapshotOf(record: SnapshotRecord): DriverSnapshot {
  const { id, sourceVolumeId, spec, createdAtMs, state, consistency } = record;
  return {
    snapshotId: id,
    sourceVolumeId,
    sizeBytes: spec.sizeBytes,
    createdAtMs,
    isReady: state === 'ready',
    ...(consistency === undefined ? {} : { consistency }),
  };
}

/** What there is of that name already; what an earlier attempt left half-made is removed. */
async function settleExisting(
  environment: VolumeEnvironment,
  wanted: WantedSnapshot,
  pools: readonly Pool[],
): Promise<Outcome | undefined> {
  for (const pool of pools) {
    const broken = pool.snapshotRecords.broken(wanted.id);
    if (broken !== undefined) throw broken;
    const record = pool.snapshotRecords.get(wanted.id);
    if (record === undefined) continue;
    const difference = whyDifferent(wanted, record);
    if (difference !== '') {
      throw new StorageError(
        'already-exists-different',
        `snapshot ${wanted.name} exists in pool ${pool.name} and is another: ${difference}; delete it first, or use another name`,
      );
    }
    // of one that has just committed, the job has still to let go of the source
    if (environment.copies.get(wanted.id) !== undefined) continue;
    if (record.state === 'ready') return { record };
    await undo(environment, pool, record);
  }
  const job = environment.copies.get(wanted.id);
  return job && { job };
}

function whyDifferent(wanted: WantedSnapshot, record: SnapshotRecord): string {
  if (record.name !== wanted.name) return `its name is ${record.name}`;
  if (record.sourceVolumeId !== wanted.sourceVolumeId) {
    return `it is of volume ${record.sourceVolumeId}, asked is one of volume ${wanted.sourceVolumeId}`;
  }
  if (record.consistency === 'loose' && !wanted.allowsLoose) {
    return 'its files were copied while they may have been written to, and consistency: accept is not asked';
  }
  return '';
}

/** Makes the snapshot, or begins to. The locks of the snapshot and of its source are held. */
async function begin(
  environment: VolumeEnvironment,
  wanted: WantedSnapshot,
  call: CallContext,
): Promise<Outcome> {
  const plan = await planSnapshot(environment, wanted, call);
  // From here to the reservation nothing may wait: what was counted free must still be.
  const { intent, giveBack } = reserveSnapshot(environment, wanted, plan);
  const wish = { allowsLoose: wanted.allowsLoose };
  if (!plan.isInstant) return { job: beginCopy(environment, plan, intent, giveBack, wish.allowsLoose) };
  try {
    return { record: await writeSnapshot(environment, plan, intent, wish, call) };
  } catch (error) {
    const failure = callError(error, call, `making snapshot ${wanted.name}`);
    await undo(environment, plan.pool, intent, failure);
    giveBack();
    throw failure;
  }
}

function beginCopy(
  environment: VolumeEnvironment,
  plan: SnapshotPlan,
  intent: SnapshotRecord,
  giveBack: () => void,
  allowsLoose: boolean,
): CopyJob {
  const { pool, source, writtenBytes } = plan;
  const { id, sourceVolumeId } = intent;
  const letGo = environment.holds.hold(sourceVolumeId, {
    reading: () => `to snapshot ${intent.name}, ${environment.copies.get(id)?.progress ?? 'about to begin'}`,
    keepsQuiet: !source.isLive,
  });
  pool.allocating.set(id, writtenBytes);
  let current = intent;
  return environment.copies.begin(id, {
    what: `snapshot ${intent.name} of volume ${sourceVolumeId}`,
    totalBytes: writtenBytes,
    run: async (turn) => {
      const { signal } = turn;
      // it may have waited for its turn: what it holds is of now, and not of when it was asked for
      current = { ...intent, createdAtMs: environment.clock.nowMs() };
      pool.snapshotRecords.put(current);
      const onProgress = (copiedBytes: bigint): void => {
        turn.progress(copiedBytes);
        pool.allocating.set(id, copiedBytes < writtenBytes ? writtenBytes - copiedBytes : 0n);
      };
      await writeSnapshot(environment, plan, current, { allowsLoose, onProgress }, { signal });
      // a thick image's snapshot may share its blocks all the same, where nobody said so; it is looked at soon
      if (plan.record.spec.provisioning === 'thick') pool.records.noteShared(sourceVolumeId, writtenBytes);
    },
    undo: async (failure) => {
      await undo(environment, pool, current, failure);
      giveBack();
    },
    ended: () => {
      pool.allocating.delete(id);
      letGo();
      environment.spaceChanged.tell();
    },
  });
}

/** @returns the snapshot, not ready where the copy goes on beyond the caller's patience */
async function join(
  { pools }: VolumeEnvironment,
  id: string,
  job: CopyJob,
  call: CallContext,
): Promise<DriverSnapshot> {
  const late = await job.join(call).then(
    () => undefined,
    (error: unknown) => {
      if (isReason(error, 'still-copying')) return error;
      throw error;
    },
  );
  const record = (await pools.findSnapshot(id))?.record;
  if (record !== undefined) return driverSnapshotOf(record);
  throw late ?? new StorageError('snapshot-not-found', `${job.what} was deleted meanwhile`);
}

/**
 * Removes what was made, before the caller hears of the failure.
 *
 * @throws StorageError 'still-removing' where that is not possible now; the intent stays for a repeat or a restart
 */
async function undo(
  environment: VolumeEnvironment,
  pool: Pool,
  intent: SnapshotRecord,
  failure?: StorageError,
): Promise<void> {
  const { id, name, spec } = intent;
  try {
    const backend = backendOf(environment, spec.backend);
    if (isOursToUndo(intent, failure)) {
      await undoVolume(pool.snapshots, { id, spec, backend }, AbortSignal.timeout(undoTimeoutMs));
    }
    pool.snapshotRecords.forget(id);
    environment.spaceChanged.tell();
  } catch (error) {
    const why = messageOf(error);
    environment.log.error(
      { snapshotId: id, pool: pool.name, error: why },
      'half-made snapshot not removed yet',
    );
    const before = failure === undefined ? `snapshot ${name} was half made` : failure.message;
    throw new StorageError(
      'still-removing',
      `${before}; its leftovers cannot be removed yet (${why}), a repeat tries again`,
      { cause: failure ?? error },
    );
  }
}
