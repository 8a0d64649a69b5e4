import { StorageError } from '../model/errors.ts';
import type { Pool } from './pools/pool.ts';
import type { VolumeRecord } from './records/record.ts';
import { checkPoolUuid } from './volume-context.ts';

export interface LocatedVolume {
  readonly pool: Pool;
  readonly record: VolumeRecord;
}

/**
 * Finds a volume by its id among the open pools. The id is only ever compared with what records say.
 *
 * @param poolUuid of the PV's attributes, where the caller has them
 * @returns undefined where no open pool has it
 * @throws StorageError 'wrong-pool' where only another pool has it, or several have and no uuid says which;
 *   'data-loss' where its record cannot be read
 */
export function locateVolume(
  pools: readonly Pool[],
  volumeId: string,
  poolUuid: string | undefined,
): LocatedVolume | undefined {
  const holders = pools.filter((pool) => pool.records.get(volumeId) ?? pool.records.broken(volumeId));
  const holder = holders.find((pool) => pool.uuid === poolUuid) ?? holders[0];
  if (holder === undefined) return undefined;
  checkPoolUuid(volumeId, holder, poolUuid);
  if (poolUuid === undefined && holders.length > 1) {
    const names = holders.map((pool) => pool.name).join(' and ');
    throw new StorageError(
      'wrong-pool',
      `volume ${volumeId} is in pools ${names}; say which by the pool's uuid`,
    );
  }
  const record = holder.records.get(volumeId);
  if (record !== undefined) return { pool: holder, record };
  throw (
    holder.records.broken(volumeId) ??
    new StorageError('data-loss', `volume ${volumeId} has no record; restore it or move the data away`)
  );
}
