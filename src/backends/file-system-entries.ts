import { fileSystemUsage } from '../host/file-system-usage.ts';
import { canonicalTarget } from '../host/mounts.ts';
import { mountAt, readMounts } from '../host/mountinfo.ts';
import { StorageError } from '../model/errors.ts';
import type { UsageEntry } from '../model/node-driver.ts';

/**
 * Size and use of the file system that is mounted at a path, by one statfs.
 *
 * @throws StorageError 'path-not-found' where nothing is mounted: the numbers would be those of the disk below
 */
export async function fileSystemEntries(volumePath: string): Promise<UsageEntry[]> {
  const target = await canonicalTarget(volumePath).catch(() => undefined);
  if (target === undefined || mountAt(await readMounts(), target) === undefined) {
    throw new StorageError('path-not-found', `nothing is mounted at ${volumePath}`);
  }
  const found = await fileSystemUsage(target);
  const entries: UsageEntry[] = [
    { unit: 'BYTES', total: found.totalBytes, available: found.availableBytes, used: found.usedBytes },
  ];
  if (found.totalInodes > 0n) {
    const used = found.totalInodes - found.freeInodes;
    entries.push({ unit: 'INODES', total: found.totalInodes, available: found.freeInodes, used });
  }
  return entries;
}
