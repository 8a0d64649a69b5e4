import type { CallContext, CreateVolumeRequest, DriverVolume } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { admits } from '../model/topology.ts';
import { differences } from './compare-volume.ts';
import { CopyJob } from './copies/copy-jobs.ts';
import { copyVolume } from './copies/copy-volume.ts';
import { ownerDifferences } from './inline/inline-owner.ts';
import { makeOrUndo, reserveVolume, undoMaking, type Fill } from './make-volume.ts';
import { candidatesFor, choosePlacement, readDisks } from './place-volume.ts';
import { readCreateRequest, type WantedVolume } from './plan-volume.ts';
import type { Pool } from './pools/pool.ts';
import type { InlineOwner, VolumeRecord } from './records/record.ts';
import { refuseRecycling } from './refuse-recycling.ts';
import { backendOf, type VolumeEnvironment } from './volume-environment.ts';
import { driverVolumeOf } from './volume-context.ts';

interface MadeVolume {
  readonly pool: Pool;
  readonly record: VolumeRecord;
}

/**
 * CSI CreateVolume. Idempotent by name: a volume of that name which fits the request is the answer; what an earlier
 * attempt left half-made is removed and made anew, here or in another pool.
 *
 * On disk: an intent, then the data, then the intent becomes the record by a rename. Killed anywhere, either the record
 * says `ready` and everything is there, or recovery removes it. An error leaves nothing behind, `still-removing` excepted.
 * A full copy of a source goes on behind `still-copying`; whoever asks again joins it.
 * @param inline the pod, where one describes the volume: then it is no PV's, and only that pod's publishes find it
 * @throws StorageError by CSI: 'invalid-argument' | 'invalid-parameter' | 'unsupported-capability' | 'wrong-node' |
 *   'already-exists-different' | 'busy' | 'size-out-of-range' | 'out-of-space' | 'limit-not-enforced' | 'pool-*' |
 *   'source-not-found' | 'source-differs' | 'not-consistent' | 'still-copying'
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
  for (;;) {
    const made = await environment.locks.run(wanted.id, 'its creation', async () => {
      const pools = await environment.pools.usable();
      const existing = await settleExisting(environment, wanted, pools, inline);
      if (existing !== undefined) return existing;
      return wanted.source === undefined
        ? makeEmpty(environment, wanted, call, inline)
        : copyVolume(environment, wanted, wanted.source, call);
    });
    if (!(made instanceof CopyJob)) return driverVolumeOf(made.record, made.pool.uuid, environment.topology);
    // then it is found, unless somebody has deleted it already
    await made.join(call);
  }
}

/** Answers with a volume of the name, finished or being copied to, and clears away unfinished ones wherever they are. */
async function settleExisting(
  environment: VolumeEnvironment,
  wanted: WantedVolume,
  pools: readonly Pool[],
  inline: InlineOwner | undefined,
): Promise<MadeVolume | CopyJob | undefined> {
  const job = environment.copies.get(wanted.id);
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
    if (record.state === 'creating' && job === undefined) {
      await undoMaking(environment, pool, record);
      continue;
    }
    refuseRecycling(record);
    const differing =
      record.name === wanted.name
        ? [...ownerDifferences(inline, record.inline), ...differences(wanted, record, pool.name)]
        : [`its name is ${record.name}`];
    if (differing.length === 0) return job ?? { pool, record };
    conflict ??= new StorageError(
      'already-exists-different',
      `volume ${wanted.name} exists in pool ${pool.name} and is another: ${differing.join('; ')}; ` +
        'delete it first, or use another name',
    );
  }
  if (conflict !== undefined) throw conflict;
  // one that failed, and has not been asked after
  return job;
}

async function makeEmpty(
  environment: VolumeEnvironment,
  wanted: WantedVolume,
  call: CallContext,
  inline: InlineOwner | undefined,
): Promise<MadeVolume> {
  const candidates = candidatesFor(wanted, environment.pools);
  const disks = await readDisks(candidates);
  // From here to the reservation nothing may wait: what was counted free must still be.
  const placement = choosePlacement(wanted, candidates, disks, environment.pools, {
    upFrontBytes: (offer, spec) => backendOf(environment, offer.name).initialBytes(spec),
  });
  const intent = reserveVolume(environment, wanted, placement, inline);
  const { pool } = placement;
  const fill: Fill = async (place, spec, how, mayBegin) => {
    await mayBegin;
    await backendOf(environment, spec.backend).create(place, spec, how);
    return {};
  };
  return { pool, record: await makeOrUndo(environment, pool, intent, fill, call) };
}
