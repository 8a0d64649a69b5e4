import { StorageError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';
import type { BackendName, VolumeSpec } from '../model/volume.ts';
import type { SpaceFacts } from './space/capacity.ts';
import {
  chooseBackend,
  noBackendError,
  type BackendOffer,
  type BackendRefusal,
  type BackendWish,
} from './choose-backend.ts';
import { measure, readDisk, type DiskReading, type MeasuredSpace } from './space/measure-space.ts';
import type { Pools } from './pools/open-pools.ts';
import { specOf, type WantedVolume } from './plan-volume.ts';
import type { Pool } from './pools/pool.ts';
import { largestImageBytes } from './space/image-limits.ts';

/** A pool that could hold the volume, by its kind. */
export interface Candidate {
  readonly pool: Pool;
  readonly offer: BackendOffer;
}

/** Where a volume will be. */
export interface Placement extends Candidate {
  readonly spec: VolumeSpec;
}

/**
 * The usable pools whose backends can make such a volume, space not looked at.
 *
 * @throws StorageError 'pool-not-found' | 'pool-unavailable', or as `noBackendError` where no pool's backend can
 */
export function candidatesFor(
  wanted: Pick<WantedVolume, 'parameters' | 'accessType' | 'fsType'>,
  pools: Pick<Pools, 'open' | 'unavailable' | 'isConfigured'>,
): readonly Candidate[] {
  const named = wanted.parameters.pool;
  if (named !== undefined && !pools.isConfigured(named)) {
    throw new StorageError(
      'pool-not-found',
      `the class names pool ${named}, which this node does not have; name another or none`,
    );
  }
  const open = pools.open().filter((pool) => named === undefined || pool.name === named);
  if (open.length === 0) {
    const missing = pools.unavailable().filter((pool) => named === undefined || pool.name === named);
    const why = missing.map((pool) => `pool ${pool.name}: ${pool.why}`).join('; ');
    throw new StorageError('pool-unavailable', why === '' ? 'this node has no pools; configure one' : why);
  }
  const wish = wishOf(wanted);
  const candidates: Candidate[] = [];
  const refusals = new Map<string, BackendRefusal>();
  for (const pool of open) {
    const choice = chooseBackend(wish, pool.offers, pool);
    if (choice.kind === 'chosen') candidates.push({ pool, offer: choice.offer });
    else refusals.set(pool.name, choice.refusal);
  }
  if (candidates.length === 0) throw noBackendError(refusals);
  return candidates;
}

/** What of a request decides which backend can serve it. */
export function wishOf({
  parameters,
  accessType,
  fsType,
}: Pick<WantedVolume, 'parameters' | 'accessType' | 'fsType'>): BackendWish {
  const { backend, limit, provisioning, onDelete, scrub } = parameters;
  return {
    backend,
    limit,
    provisioning,
    accessType,
    ...(fsType === undefined ? {} : { fsType }),
    ...(onDelete === 'scrub' ? { scrub } : {}),
  };
}

/** The largest volume of the wanted kind that this pool could make now, or ever. */
export function roomFor(
  provisioning: 'thin' | 'thick',
  backend: BackendName,
  space: MeasuredSpace,
): { readonly nowBytes: bigint; readonly everBytes: bigint } {
  const isThick = provisioning === 'thick';
  const most = backend === 'loopback' ? largestImageBytes : undefined;
  const least = (bytes: bigint): bigint => (most !== undefined && bytes > most ? most : bytes);
  return {
    nowBytes: least(isThick ? space.thickBytes : space.thinBytes),
    everBytes: least(isThick ? space.largestThickBytes : space.largestThinBytes),
  };
}

/** Reads the candidates' disks, for `choosePlacement`. */
export function readDisks(candidates: readonly Candidate[]): Promise<readonly DiskReading[]> {
  return Promise.all(candidates.map(({ pool }) => readDisk(pool)));
}

/** What making a volume takes of its pool's disk before anything is written to it, and whose shape it has. */
export interface Making {
  readonly upFrontBytes: (offer: BackendOffer, spec: VolumeSpec) => bigint;
  /** unset: it begins empty */
  readonly source?: VolumeSpec;
}

/**
 * Chooses the candidate with most room. Synchronous, so that the caller can reserve before anybody else counts.
 *
 * @throws StorageError 'out-of-space', saying whether waiting helps. Never OUT_OF_RANGE: another node's pool may hold what none
 *   of this one's ever could, and only RESOURCE_EXHAUSTED has the scheduler look for that node
 */
export function choosePlacement(
  wanted: WantedVolume,
  candidates: readonly Candidate[],
  disks: readonly DiskReading[],
  pools: Pick<Pools, 'open' | 'unavailable'>,
  making: Making,
): Placement {
  const { provisioning } = wanted.parameters;
  let best: (Placement & { readonly nowBytes: bigint }) | undefined;
  let isPossible = false;
  const shortages: string[] = [];
  let wantedBytes = 0n;
  for (const [index, candidate] of candidates.entries()) {
    const disk = disks[index];
    if (disk === undefined) continue;
    const { pool, offer } = candidate;
    const spec = specOf(wanted, offer, making.source);
    const space = measure(pool, disk, pools.open());
    const room = roomFor(provisioning, offer.name, space);
    const upFront = provisioning === 'thick' ? 0n : making.upFrontBytes(offer, spec);
    wantedBytes = spec.sizeBytes;
    if (spec.sizeBytes <= room.everBytes) isPossible = true;
    if (spec.sizeBytes > room.nowBytes || upFront > space.facts.availableBytes) {
      shortages.push(shortage(pool, room, space.facts));
    } else if (best === undefined || room.nowBytes > best.nowBytes) {
      best = { ...candidate, spec, nowBytes: room.nowBytes };
    }
  }
  if (best !== undefined) return { pool: best.pool, offer: best.offer, spec: best.spec };
  const needs = `volume ${wanted.name} needs ${formatBytes(wantedBytes)}, ${shortages.join('; ')}`;
  if (!isPossible)
    throw new StorageError('out-of-space', `${needs}; ask for less, or use a node with larger pools`);
  const missing = pools.unavailable().map((pool) => `; pool ${pool.name} is unavailable (${pool.why})`);
  throw new StorageError(
    'out-of-space',
    `${needs}${missing.join('')}; ask for less, delete volumes or add a pool`,
  );
}

/** How much of a pool is left, and why not more, for people. */
export function shortage(
  pool: Pool,
  room: { readonly nowBytes: bigint; readonly everBytes: bigint },
  facts: SpaceFacts,
): string {
  if (room.everBytes === 0n) return `pool ${pool.name} can give nothing`;
  const { promisedBytes, totalBytes, availableBytes } = facts;
  return (
    `pool ${pool.name} has ${formatBytes(room.nowBytes)} to give of ${formatBytes(totalBytes)} ` +
    `(promised ${formatBytes(promisedBytes)}, free on disk ${formatBytes(availableBytes)}, ` +
    `largest possible ${formatBytes(room.everBytes)})`
  );
}
