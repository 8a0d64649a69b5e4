import type { Pools } from '../pools/open-pools.ts';
import type { Pool } from '../pools/pool.ts';
import type { ForgottenDisk, KnownDisk } from './decide-disk.ts';

/** One at a time on a node adopts a disk or gives one up: a disk may be mounted in two folders. */
export const disksLock = 'mounted-disks';

/** The disks that are volumes of these pools, and those that are being emptied. */
export function knownDisks(pools: readonly Pool[]): readonly KnownDisk[] {
  return pools.flatMap(({ uuid: poolUuid, records, trash }) => {
    const known: KnownDisk[] = [];
    for (const { spec, state } of records.all()) {
      const { disk, id: volumeId } = spec;
      if (disk !== undefined && state !== 'creating')
        known.push({ poolUuid, volumeId, disk, isDeleted: false });
    }
    for (const { id: volumeId, spec } of trash.entries())
      if (spec?.disk !== undefined) known.push({ poolUuid, volumeId, disk: spec.disk, isDeleted: true });
    return known;
  });
}

/** The disks that were volumes of these pools and were given up while they were away. */
export function forgottenDisks(pools: readonly Pool[]): readonly ForgottenDisk[] {
  return pools.flatMap(({ uuid: poolUuid, forgottenDisks: forgotten }) =>
    forgotten.all().map(({ spec, disk, claim }) => ({
      poolUuid,
      volumeId: spec.id,
      disk,
      claim: claim === undefined ? '' : `${claim.namespace}/${claim.name}`,
    })),
  );
}

/** Why a disk that no record names may be a volume all the same; undefined: every record was read. */
export function whyNotAllKnown(pools: Pick<Pools, 'open' | 'unavailable'>): string | undefined {
  const [away] = pools.unavailable();
  if (away !== undefined)
    return `pool ${away.name} is not there, and its records cannot be asked; mount its disk`;
  for (const {
    name,
    records,
    trash,
    forgottenDisks: { unreadable },
  } of pools.open()) {
    for (const why of unreadable.values()) return `${why}; mend that record, or restore it`;
    const [broken] = records.allBroken();
    const id = broken?.[0] ?? trash.entries().find(({ isUnreadable }) => isUnreadable)?.id;
    if (id !== undefined)
      return `the record of volume ${id} in pool ${name} cannot be read; mend it, or restore it`;
  }
  return undefined;
}
