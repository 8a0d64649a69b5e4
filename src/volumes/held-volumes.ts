import type { HeldVolume, PoolRoom } from '../model/volume-ledger.ts';
import type { Pool } from './pools/pool.ts';
import type { VolumeRecord } from './records/record.ts';
import { measure, readDisk } from './space/measure-space.ts';

/** Every volume of these pools that a PV could stand for. */
export function heldVolumes(pools: readonly Pool[]): readonly HeldVolume[] {
  return pools.flatMap((pool) =>
    [...pool.records.all()].filter(isHeld).map((record) => heldVolume(record, pool)),
  );
}

/** Those of them with this id. */
export function heldOf(pools: readonly Pool[], volumeId: string): readonly HeldVolume[] {
  return pools.flatMap((pool) => {
    const record = pool.records.get(volumeId);
    return record !== undefined && isHeld(record) ? [heldVolume(record, pool)] : [];
  });
}

/** Those of them that were made for a claim of this name. */
export function heldFor(
  pools: readonly Pool[],
  claim: { readonly namespace: string; readonly name: string },
): readonly HeldVolume[] {
  return pools.flatMap((pool) =>
    pool.records
      .madeFor(claim)
      .filter(isHeld)
      .map((record) => heldVolume(record, pool)),
  );
}

function isHeld({ state, inline }: VolumeRecord): boolean {
  return state !== 'creating' && inline === undefined;
}

export function heldVolume(record: VolumeRecord, pool: Pick<Pool, 'name' | 'uuid'>): HeldVolume {
  const { name, spec, sharing, state, acknowledged, used, claim, clusterUid, className, createdAtMs } =
    record;
  const { id, backend, accessType, fsType, sizeBytes, limit } = spec;
  return {
    volumeId: id,
    name,
    poolName: pool.name,
    poolUuid: pool.uuid,
    backend,
    accessType,
    ...(fsType === undefined ? {} : { fsType }),
    sizeBytes,
    limit,
    sharing,
    isRecycling: state === 'recycling',
    acknowledged,
    used: used === true,
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    ...(className === undefined ? {} : { className }),
    adopt: record.parameters['adopt'] === 'by-name' ? 'by-name' : 'never',
    onDelete: record.onDelete,
    ...(record.adoptedFrom === undefined ? {} : { adoptedFrom: record.adoptedFrom }),
    createdAtMs,
  };
}

/** What can still be promised of each pool. One whose disk cannot be asked just now is left out. */
export async function roomsOf(pools: readonly Pool[]): Promise<readonly PoolRoom[]> {
  const rooms = await Promise.all(
    pools.map(async (pool): Promise<readonly PoolRoom[]> => {
      try {
        const { facts, thinBytes } = measure(pool, await readDisk(pool), pools);
        const { totalBytes: sizeBytes } = facts;
        return [{ name: pool.name, uuid: pool.uuid, sizeBytes, unpromisedBytes: thinBytes }];
      } catch {
        return [];
      }
    }),
  );
  return rooms.flat();
}
