import type { BtrfsFileSystem } from '../../host/btrfs-file-systems.ts';
import { ownBytesOf, qgroupOf, quotaState } from '../../host/qgroups.ts';
import { statFileSystem } from '../../host/statfs.ts';
import { whileOpen } from '../../host/while-open.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { VolumePlace } from '../backend.ts';
import { fileSystemEntries } from '../file-system-entries.ts';
import { countHolding, fileSystemOf, holdLimit, mayHold } from './hold-limit.ts';
import { openData, type VolumeData } from './volume-data.ts';

/**
 * What the quota counts, where statfs tells of the whole pool. Read from sysfs, so that it is of this moment and starts no process; only
 * a volume that may have subvolumes inside is looked at more closely, and held to its limit with them.
 */
export async function subvolumeEntries(
  place: VolumePlace,
  spec: VolumeSpec,
  volumePath: string,
): Promise<UsageEntry[]> {
  const ofPool = await fileSystemEntries(volumePath);
  const usedBytes = await usedBytesOf(place, spec);
  if (usedBytes === undefined) return ofPool;
  const { availableBytes: freeBytes } = await statFileSystem(volumePath);
  if (spec.limit === 'advisory') {
    return [{ unit: 'BYTES', total: usedBytes + freeBytes, available: freeBytes, used: usedBytes }];
  }
  const restBytes = spec.sizeBytes > usedBytes ? spec.sizeBytes - usedBytes : 0n;
  const available = restBytes < freeBytes ? restBytes : freeBytes;
  return [{ unit: 'BYTES', total: spec.sizeBytes, available, used: usedBytes }];
}

/** Undefined where nothing is counted. */
async function usedBytesOf(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined> {
  return counting(place, async (fileSystem, data, signal) =>
    (await mayHold(fileSystem, data))
      ? (await holdLimit(fileSystem, data, spec, signal)).usedBytes
      : qgroupOf(fileSystem, data.id)?.usedBytes,
  );
}

/** Of a volume or of a snapshot, which has no limit. */
export async function writtenBytesOf(place: VolumePlace): Promise<bigint | undefined> {
  return counting(place, async (fileSystem, data, signal) =>
    (await mayHold(fileSystem, data))
      ? (await countHolding(fileSystem, data, signal)).usedBytes
      : qgroupOf(fileSystem, data.id)?.usedBytes,
  );
}

/** Of a volume, what its snapshots and clones have not; not known of one with subvolumes inside. */
export async function unsharedBytesOf(place: VolumePlace): Promise<bigint | undefined> {
  return counting(place, async (fileSystem, data) =>
    (await mayHold(fileSystem, data)) ? undefined : ownBytesOf(fileSystem, data.id),
  );
}

async function counting(
  place: VolumePlace,
  count: (fileSystem: BtrfsFileSystem, data: VolumeData, signal: AbortSignal) => Promise<bigint | undefined>,
): Promise<bigint | undefined> {
  const signal = AbortSignal.timeout(30_000);
  return whileOpen(openData(place, signal), async (data) => {
    if (data === undefined) return undefined;
    const fileSystem = await fileSystemOf(place, signal);
    return quotaState(fileSystem).mode === 'off' ? undefined : count(fileSystem, data, signal);
  });
}
