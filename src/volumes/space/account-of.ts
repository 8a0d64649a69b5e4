import type { Pool } from '../pools/pool.ts';
import { promisedTo } from './promised.ts';

/** What of a pool's room is spoken for, and by what, in bytes: the terms of which `measure` forms its sums. */
export interface PoolAccount {
  /** sizes of finished volumes, those of pods' own included */
  readonly volumesBytes: bigint;
  /** of volumes that are being made, or that were half made and could not be removed yet */
  readonly makingBytes: bigint;
  /** of volumes that are being emptied for their next claim */
  readonly recyclingBytes: bigint;
  /** what volumes are about to grow by, or to be allocated beyond their record */
  readonly growthBytes: bigint;
  readonly snapshotsBytes: bigint;
  readonly archiveBytes: bigint;
  readonly trashBytes: bigint;
  /** of these, what images may yet take from the disk */
  readonly unwrittenBytes: bigint;
  /** of these, allocations under way that the disk does not show yet */
  readonly pendingBytes: bigint;
  /** kept back for the day when the disk is full */
  readonly reserveBytes: bigint;
}

/** For people who look for what a pool's room went to. Walks all records: for a look now and then. */
export function accountOf(pool: Pool): PoolAccount {
  const { records, snapshotRecords, archive, trash } = pool;
  const sizes = { ready: 0n, creating: 0n, recycling: 0n };
  for (const { state, spec } of records.all()) sizes[state] += promisedTo(spec);
  return {
    volumesBytes: sizes.ready,
    makingBytes: sizes.creating,
    recyclingBytes: sizes.recycling,
    growthBytes: records.promisedBytes - sizes.ready - sizes.creating - sizes.recycling,
    snapshotsBytes: snapshotRecords.pinnedBytes,
    archiveBytes: archive.usedBytes(),
    trashBytes: trash.usedBytes(),
    unwrittenBytes: records.unwrittenBytes,
    pendingBytes: pool.pendingBytes(),
    reserveBytes: pool.reserveBytes,
  };
}
