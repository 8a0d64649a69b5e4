import type { ListedVolume, VolumeCondition } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { inLanes } from '../host/lanes.ts';
import { isVolumeId } from '../model/volume-id.ts';
import { poolUuidKey } from '../model/volume.ts';
import { makeToken, readToken } from './records/page-token.ts';
import type { Pool } from './pools/pool.ts';
import { withPoolCondition } from './pools/pool-condition.ts';
import type { VolumeRecord } from './records/record.ts';
import { backendOf, type VolumeEnvironment } from './volume-environment.ts';
import { recyclingText } from './refuse-recycling.ts';
import { driverVolumeOf } from './volume-context.ts';

type Listing = { readonly id: string; readonly pool: Pool } & (
  { readonly record: VolumeRecord } | { readonly broken: StorageError }
);

/**
 * CSI ListVolumes: finished volumes of the pools that are there, also those that are being emptied, in the order of their ids; pods' inline volumes are none of
 * the controller's, so that nobody takes them for forgotten ones. The token names the last id
 * given out, so that volumes which come or go between two pages neither repeat nor hide others.
 *
 * @throws StorageError 'bad-token' | 'invalid-argument'
 */
export async function listVolumes(
  environment: VolumeEnvironment,
  request: { readonly maxEntries: number; readonly startingToken: string },
): Promise<{ readonly entries: readonly ListedVolume[]; readonly nextToken: string }> {
  if (request.maxEntries < 0) {
    throw new StorageError('invalid-argument', `max_entries is ${request.maxEntries}; it is 0 or more`);
  }
  const after = readToken(request.startingToken, isVolumeId);
  const rest = environment.pools
    .open()
    .flatMap(listingsOf)
    .filter((listing) => listing.id > after)
    .sort((left, right) => (left.id < right.id ? -1 : 1));
  let end = request.maxEntries === 0 ? rest.length : Math.min(request.maxEntries, rest.length);
  // the same id in two pools stays on one page: the token could not tell them apart
  while (end > 0 && end < rest.length && rest[end]?.id === rest[end - 1]?.id) end += 1;
  const page = rest.slice(0, end);
  const found: (ListedVolume | undefined)[] = [];
  await inLanes([...page.entries()], 16, async ([index, listing]) => {
    found[index] = await describe(environment, listing);
  });
  const entries = found.filter((entry) => entry !== undefined);
  const last = page.at(-1);
  return { entries, nextToken: last === undefined || end === rest.length ? '' : makeToken(last.id) };
}

/**
 * One volume with its condition. A record that cannot be read is a volume too, an abnormal one.
 *
 * @returns undefined where it was deleted while it was looked at
 */
export async function describe(
  environment: VolumeEnvironment,
  listing: Listing,
): Promise<ListedVolume | undefined> {
  const { pool, id } = listing;
  if ('broken' in listing) {
    const volume = {
      volumeId: id,
      capacityBytes: 0n,
      volumeContext: { [poolUuidKey]: pool.uuid },
      accessibleTopology: [environment.topology],
    };
    return { volume, condition: { abnormal: true, message: listing.broken.message } };
  }
  const { record } = listing;
  const backend = backendOf(environment, record.spec.backend);
  if (record.state === 'recycling') {
    return listedOf(environment, pool, record, { abnormal: false, message: recyclingText(id) });
  }
  const isThere = (): boolean => pool.records.get(id)?.state === 'ready';
  try {
    const condition = await backend.condition(pool.place(record.spec.id), record.spec);
    if (!isThere()) return undefined;
    const whole = await withPoolCondition(pool, environment.pools.open(), record.spec, condition);
    return listedOf(environment, pool, record, whole);
  } catch (error) {
    // on its way to the trash, it may still be in the records
    if (!isThere() || environment.locks.holds(id)) return undefined;
    throw error;
  }
}

function listedOf(
  environment: VolumeEnvironment,
  pool: Pool,
  record: VolumeRecord,
  condition: VolumeCondition,
): ListedVolume {
  return { volume: driverVolumeOf(record, pool.uuid, environment.topology), condition };
}

/** Finds one for `describe`. @throws StorageError 'volume-not-found' */
export function listingOf(pools: readonly Pool[], volumeId: string): Listing | undefined {
  for (const pool of pools) {
    const broken = pool.records.broken(volumeId);
    if (broken !== undefined) return { id: volumeId, pool, broken };
    const record = pool.records.get(volumeId);
    if (record !== undefined && isListed(record)) return { id: volumeId, pool, record };
  }
  return undefined;
}

/** One that is being emptied has its PV all the while. */
function isListed({ state, inline }: VolumeRecord): boolean {
  return state !== 'creating' && inline === undefined;
}

function listingsOf(pool: Pool): Listing[] {
  const listings: Listing[] = [];
  for (const record of pool.records.all()) {
    if (isListed(record)) listings.push({ id: record.spec.id, pool, record });
  }
  for (const [id, broken] of pool.records.allBroken()) listings.push({ id, pool, broken });
  return listings;
}
