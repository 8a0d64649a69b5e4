import { spaceOf, type Space, type SpaceFacts } from './capacity.ts';
import type { Pool } from '../pools/pool.ts';

/** How full a pool's disk was a moment ago. Promises are added later, when they count. */
export type DiskReading = Pick<SpaceFacts, 'totalBytes' | 'availableBytes'>;

/** Asks the disk. The one step of accounting that takes time, and so comes before the ones that must not. */
export async function readDisk(pool: Pool): Promise<DiskReading> {
  pool.lookAtImages();
  const { totalBytes, availableBytes } = await pool.fileSystemStatus();
  return { totalBytes, availableBytes };
}

export interface MeasuredSpace extends Space {
  readonly facts: SpaceFacts;
}

/** What of a pool can be given out now; pools on the same file system count together. Synchronous: see `reserve`. */
export function measure(pool: Pool, disk: DiskReading, openPools: readonly Pool[]): MeasuredSpace {
  let promisedBytes = 0n;
  let unwrittenBytes = 0n;
  let pendingBytes = 0n;
  let reserveBytes = 0n;
  for (const other of openPools) {
    if (other.fileSystemId !== pool.fileSystemId) continue;
    promisedBytes += other.promisedBytes();
    unwrittenBytes += other.records.unwrittenBytes;
    pendingBytes += other.pendingBytes();
    reserveBytes += other.reserveBytes;
  }
  // of what is available it is missing already
  const totalBytes = disk.totalBytes - reserveBytes;
  const facts: SpaceFacts = { ...disk, totalBytes, promisedBytes, unwrittenBytes, pendingBytes };
  return { ...spaceOf(facts, pool.config), facts };
}
