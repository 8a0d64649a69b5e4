import { parseClassParameters } from '../../model/class-parameters.ts';
import type { Capacity, GetCapacityRequest } from '../../model/csi-driver.ts';
import { isReason } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import { contains } from '../../model/topology.ts';
import type { PoolTrouble } from '../../model/volume-ledger.ts';
import type { FsType } from '../../model/volume.ts';
import { shapeOf } from '../check-capabilities.ts';
import { measure, readDisk } from './measure-space.ts';
import { candidatesFor, roomFor, shortage, type Candidate } from '../place-volume.ts';
import { smallestSize } from '../plan-volume.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/** Nothing fits here, and why, for people. */
function nothing(reason: string): Capacity {
  return { availableBytes: 0n, maximumVolumeBytes: 0n, reason };
}

/**
 * CSI GetCapacity, counted as CreateVolume counts: a volume of the maximum size would be made. Asked with a class's raw
 * parameters, or with stripped ones and capabilities. A class that nothing here can serve, and a topology that is not
 * ours, have no capacity; so the scheduler looks elsewhere. `reason` says why where nothing fits.
 *
 * @throws StorageError 'invalid-parameter' for parameters that no node would take
 */
export async function reportCapacity(
  environment: VolumeEnvironment,
  request: GetCapacityRequest,
): Promise<Capacity> {
  const parameters = parseClassParameters(request.parameters);
  const segments = request.accessibleTopology;
  if (segments !== undefined && !contains(environment.topology, segments)) {
    return nothing(`this node is ${JSON.stringify(environment.topology)}, not ${JSON.stringify(segments)}`);
  }
  await environment.pools.usable();
  let candidates: readonly Candidate[];
  let fsType;
  let accessType: 'mount' | 'block';
  try {
    const shape = shapeOf(request.capabilities, parameters.sharing);
    accessType = shape.accessType;
    fsType = accessType === 'mount' ? (shape.fsType ?? parameters.fsType) : undefined;
    const wish = { parameters, accessType, ...(fsType === undefined ? {} : { fsType }) };
    candidates = candidatesFor(wish, environment.pools);
  } catch (error) {
    if (isReason(error, ...noCapacityReasons)) return nothing(error.message);
    throw error;
  }
  return sum(environment, candidates, { provisioning: parameters.provisioning, accessType, fsType });
}

/** Refusals of a create that mean "not here" rather than "not at all". */
const noCapacityReasons = [
  'pool-not-found',
  'pool-unavailable',
  'limit-not-enforced',
  'unsupported-capability',
  'cannot-erase',
] as const;

async function sum(
  { pools }: VolumeEnvironment,
  candidates: readonly Candidate[],
  wish: {
    readonly provisioning: 'thin' | 'thick';
    readonly accessType: 'mount' | 'block';
    readonly fsType: FsType | undefined;
  },
): Promise<Capacity> {
  const { provisioning, accessType, fsType } = wish;
  const disks = await Promise.all(candidates.map(({ pool }) => readDisk(pool)));
  const perFileSystem = new Map<string, bigint>();
  let maximumVolumeBytes = 0n;
  let minimumVolumeBytes: bigint | undefined;
  const shortages: string[] = [];
  for (const [index, { pool, offer }] of candidates.entries()) {
    const disk = disks[index];
    if (disk === undefined) continue;
    const space = measure(pool, disk, pools.open());
    const room = roomFor(provisioning, offer.name, space);
    const { nowBytes } = room;
    shortages.push(shortage(pool, room, space.facts));
    const unpromised = provisioning === 'thick' ? space.thickBytes : space.thinBytes;
    const counted = perFileSystem.get(pool.fileSystemId) ?? 0n;
    if (unpromised > counted) perFileSystem.set(pool.fileSystemId, unpromised);
    if (nowBytes > maximumVolumeBytes) maximumVolumeBytes = nowBytes;
    const smallest = smallestSize(accessType === 'mount' ? (fsType ?? offer.features.fsTypes[0]) : undefined);
    if (minimumVolumeBytes === undefined || smallest < minimumVolumeBytes) minimumVolumeBytes = smallest;
  }
  const availableBytes = [...perFileSystem.values()].reduce((total, bytes) => total + bytes, 0n);
  return {
    availableBytes,
    maximumVolumeBytes,
    ...(minimumVolumeBytes === undefined ? {} : { minimumVolumeBytes }),
    ...(maximumVolumeBytes < (minimumVolumeBytes ?? 1n)
      ? { reason: noRoom(shortages, minimumVolumeBytes, pools.unavailable()) }
      : {}),
  };
}

function noRoom(
  shortages: readonly string[],
  smallestBytes: bigint | undefined,
  missing: readonly PoolTrouble[],
): string {
  const smallest =
    smallestBytes === undefined ? '' : `; the smallest volume is ${formatBytes(smallestBytes)}`;
  const others = missing.map(({ name, why }) => `; pool ${name} is unavailable (${why})`);
  return `${shortages.join('; ')}${smallest}${others.join('')}`;
}
