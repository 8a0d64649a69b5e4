import { StorageError } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { measure, readDisk, type MeasuredSpace } from './measure-space.ts';
import type { Pools } from '../pools/open-pools.ts';
import { roomFor, shortage } from '../place-volume.ts';

/** What a change of a volume takes of its pool beyond what the volume has. */
export interface GrowthNeed {
  readonly to: VolumeSpec;
  /** of a thin image that becomes thick: what it has taken of the disk for itself already; what it shares is written anew */
  readonly writtenBytes?: bigint;
  /** why too much is refused: never to be had is one thing where a claim asks for it, no room now another */
  readonly reason: 'size-out-of-range' | 'out-of-space';
}

/**
 * Counts what a volume is to have from now on as given out. Returns how to take it back, to be called once the record says it too,
 * or once the attempt has failed; twice does no harm.
 *
 * @throws StorageError with the need's reason and the pool's numbers, where the pool has not so much
 */
export async function reserveGrowth(
  pools: Pick<Pools, 'open'>,
  { pool, record }: LocatedVolume,
  need: GrowthNeed,
): Promise<() => void> {
  const { spec } = record;
  const { to } = need;
  // a disk has its own space, and looks itself
  if (spec.disk !== undefined) return () => {};
  const disk = await readDisk(pool);
  // From here on nothing may wait: what was counted free must still be.
  const space = measure(pool, disk, pools.open());
  const promisedBytes = to.sizeBytes - spec.sizeBytes;
  const allocatedBytes = toAllocate(spec, need);
  const isThere =
    promisedBytes <= (spec.provisioning === 'thick' ? space.thickBytes : space.thinBytes) &&
    allocatedBytes <= space.freeBytes;
  const room = roomFor(to.provisioning, spec.backend, space);
  const isPossible = promisedBytes === 0n || to.sizeBytes <= room.everBytes;
  if (!isThere || !isPossible) throw tooMuch({ pool, record }, need, room, space);
  const takeBack = pool.records.reserve(record, promisedBytes);
  if (allocatedBytes > 0n) pool.allocating.set(spec.id, allocatedBytes);
  return () => {
    takeBack();
    pool.allocating.delete(spec.id);
  };
}

function toAllocate(from: VolumeSpec, { to, writtenBytes = 0n }: GrowthNeed): bigint {
  if (to.provisioning === 'thin') return 0n;
  if (from.provisioning === 'thick') return to.sizeBytes - from.sizeBytes;
  return writtenBytes < to.sizeBytes ? to.sizeBytes - writtenBytes : 0n;
}

function tooMuch(
  { pool, record: { spec } }: LocatedVolume,
  { to, reason }: GrowthNeed,
  room: Parameters<typeof shortage>[1],
  { facts }: MeasuredSpace,
): StorageError {
  const isRefill = to.provisioning !== spec.provisioning;
  const wish = isRefill
    ? `volume ${spec.id} of ${formatBytes(spec.sizeBytes)} is to be allocated in full`
    : `volume ${spec.id} has ${formatBytes(spec.sizeBytes)} and is to have ${formatBytes(to.sizeBytes)}`;
  const wayOut = isRefill ? 'delete volumes, or leave it thin' : 'ask for less, or delete volumes';
  return new StorageError(reason, `${wish}, ${shortage(pool, room, facts)}; ${wayOut}`);
}
