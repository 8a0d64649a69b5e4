import type { Directory } from '../host/directory.ts';
import type { CallContext, CreateVolumeRequest, DriverVolume } from '../model/csi-driver.ts';
import { messageOf, StorageError } from '../model/errors.ts';
import { admits } from '../model/topology.ts';
import { differences } from './compare-volume.ts';
import { ownerDifferences } from './inline-owner.ts';
import { candidatesFor, choosePlacement, readDisks, type Placement } from './place-volume.ts';
import { readCreateRequest, type WantedVolume } from './plan-volume.ts';
import type { Pool } from './pool.ts';
import type { InlineOwner, VolumeRecord } from './record.ts';
import { undoVolume } from './undo-volume.ts';
import { backendOf, callError, type VolumeEnvironment } from './volume-environment.ts';
import { driverVolumeOf } from './volume-context.ts';

/** Undoing goes on after the caller went away, but not for ever. */
const undoTimeoutMs = 60_000;

/**
 * CSI CreateVolume. Idempotent by name: a volume of that name which fits the request is the answer; what an earlier
 * attempt left half-made is removed and made anew, here or in another pool.
 *
 * On disk: an intent, then the data, then the intent becomes the record by a rename. Killed anywhere, either the record
 * says `ready` and everything is there, or recovery removes it. An error leaves nothing behind, `still-removing` excepted.
 * @param inline the pod, where one describes the volume: then it is no PV's, and only that pod's publishes find it
 * @throws StorageError by CSI: 'invalid-argument' | 'invalid-parameter' | 'unsupported-capability' | 'wrong-node' |
 *   'already-exists-different' | 'busy' | 'size-out-of-range' | 'out-of-space' | 'limit-not-enforced' | 'pool-*'
 */
export async function createVolume(
  environment: VolumeEnvironment,
  request: CreateVolumeRequest,
  call: CallContext,
  inline?: InlineOwner,
): Promise<DriverVolume> {
  const wanted = readCreateRequest(request);
  if (!admits(request.accessibility, environment.topology)) {
    const own = JSON.stringify(environment.topology);
    throw new StorageError(
      'wrong-node',
      `volume ${wanted.name} may not be on this node (${own}); ask another`,
    );
  }
  return environment.locks.run(wanted.id, 'its creation', async () => {
    const pools = await environment.pools.usable();
    const existing = await settleExisting(environment, wanted, pools, inline);
    if (existing !== undefined) return existing;
    return makeVolume(environment, wanted, call, inline);
  });
}

/** Answers with a finished volume of the name, and clears away unfinished ones wherever they are. */
async function settleExisting(
  environment: VolumeEnvironment,
  wanted: WantedVolume,
  pools: readonly Pool[],
  inline: InlineOwner | undefined,
): Promise<DriverVolume | undefined> {
  let conflict: StorageError | undefined;
  // of an inline volume there can be two, where a pool was away in between: the pod's data is in the one that it had
  const isUsed = (pool: Pool): boolean => pool.records.get(wanted.id)?.used === true;
  const inOrder =
    inline === undefined ? pools : pools.toSorted((a, b) => Number(isUsed(b)) - Number(isUsed(a)));
  for (const pool of inOrder) {
    const broken = pool.records.broken(wanted.id);
    if (broken !== undefined) throw broken;
    const record = pool.records.get(wanted.id) ?? pool.records.byName(wanted.name);
    if (record === undefined) continue;
    if (record.state === 'creating') {
      await undo(environment, pool, record);
      continue;
    }
    const differing =
      record.name === wanted.name
        ? [...ownerDifferences(inline, record.inline), ...differences(wanted, record, pool.name)]
        : [`its name is ${record.name}`];
    if (differing.length === 0) return driverVolumeOf(record, pool.uuid, environment.topology);
    conflict ??= new StorageError(
      'already-exists-different',
      `volume ${wanted.name} exists in pool ${pool.name} and is another: ${differing.join('; ')}; ` +
        'delete it first, or use another name',
    );
  }
  if (conflict !== undefined) throw conflict;
  return undefined;
}

async function makeVolume(
  environment: VolumeEnvironment,
  wanted: WantedVolume,
  call: CallContext,
  inline: InlineOwner | undefined,
): Promise<DriverVolume> {
  const doing = `creating volume ${wanted.name}`;
  const candidates = candidatesFor(wanted, environment.pools);
  const disks = await readDisks(candidates);
  // From here to `reserve` nothing may wait: what was counted free must still be.
  const placement = choosePlacement(wanted, candidates, disks, environment.pools, (offer) =>
    backendOf(environment, offer.name),
  );
  const intent = reserve(environment, wanted, placement, inline);
  const { pool } = placement;
  // a folder of that name without a record of ours may hold somebody's data: it is never undone
  let isForeign = false;
  try {
    if (call.signal.aborted) throw callError(undefined, call, doing);
    const directory = await pool.volumes.makePrivateChild(intent.spec.id);
    isForeign = directory === undefined;
    if (directory === undefined) throw foreignFolder(pool, intent);
    const record = await writeVolume(environment, pool, intent, directory, call);
    return driverVolumeOf(record, pool.uuid, environment.topology);
  } catch (error) {
    const failure = callError(error, call, doing);
    if (isForeign) pool.records.forget(intent.spec.id);
    else await undo(environment, pool, intent, failure);
    throw failure;
  } finally {
    pool.allocating.delete(wanted.id);
    environment.spaceChanged.tell();
  }
}

/** Counts the volume as promised. In memory, at once. */
function reserve(
  { clock, spaceChanged }: VolumeEnvironment,
  wanted: WantedVolume,
  { pool, spec }: Placement,
  inline: InlineOwner | undefined,
): VolumeRecord {
  const { onDelete, scrub, sharing } = wanted.parameters;
  const intent: VolumeRecord = {
    schema: 1,
    name: wanted.name,
    state: 'creating',
    spec,
    parameters: wanted.classParameters,
    onDelete,
    scrub,
    sharing,
    ...(wanted.claim === undefined ? {} : { claim: wanted.claim }),
    ...(wanted.clusterUid === undefined ? {} : { clusterUid: wanted.clusterUid }),
    ...(inline === undefined ? {} : { inline }),
    createdAtMs: clock.nowMs(),
    // no PV will ever speak for an inline volume
    acknowledged: inline !== undefined,
  };
  pool.records.put(intent);
  if (spec.provisioning === 'thick') pool.allocating.set(spec.id, spec.sizeBytes);
  spaceChanged.tell();
  return intent;
}

function foreignFolder(pool: Pool, { spec }: VolumeRecord): StorageError {
  return new StorageError(
    'data-loss',
    `${pool.place(spec.id).path} is there without a record; look at it and move it away`,
  );
}

/** Closes the volume's directory in any case. */
async function writeVolume(
  environment: VolumeEnvironment,
  pool: Pool,
  intent: VolumeRecord,
  directory: Directory,
  call: CallContext,
): Promise<VolumeRecord> {
  const { id } = intent.spec;
  const { reached } = environment;
  try {
    await reached?.('reserved', id);
    await pool.records.writeIntent(directory, intent);
    await reached?.('intent', id);
    const backend = backendOf(environment, intent.spec.backend);
    await allSettledOrThrow([
      backend.create(pool.place(id), intent.spec, call),
      // for people, and put right by the next start where the commit does not follow
      pool.claimLinks.add(intent),
    ]);
    await reached?.('data', id);
    const record: VolumeRecord = { ...intent, state: 'ready' };
    // flushed together, so that they share what a flush costs: the directory's, after the record, covers the data in it, too
    await allSettledOrThrow([pool.records.write(directory, record), pool.volumes.sync()]);
    pool.records.put(record);
    await reached?.('commit', id);
    return record;
  } finally {
    await directory.close();
  }
}

/** All of them have ended when it throws the first failure: undoing must not race with what is still being made. */
async function allSettledOrThrow(works: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(works)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/**
 * Removes what was made, before the caller hears of the failure: after most answers nobody would come back for it.
 *
 * @throws StorageError 'still-removing' where that is not possible now; the intent stays for a repeat or a restart
 */
async function undo(
  environment: VolumeEnvironment,
  pool: Pool,
  record: VolumeRecord,
  failure?: StorageError,
): Promise<void> {
  const { spec } = record;
  try {
    const backend = backendOf(environment, spec.backend);
    await undoVolume(pool.volumes, { id: spec.id, spec, backend }, AbortSignal.timeout(undoTimeoutMs));
    await pool.claimLinks.remove(record);
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
