import { realpath } from 'node:fs/promises';
import { deviceErrors, type BtrfsFileSystem } from '../../host/btrfs-file-systems.ts';
import { readMounts } from '../../host/mountinfo.ts';
import { quotaState, startRescan } from '../../host/qgroups.ts';
import { commandPath } from '../../host/subvolumes.ts';
import { whileOpen } from '../../host/while-open.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { VolumePlace } from '../backend.ts';
import { poolFault } from '../pool-fault.ts';
import { fileSystemOf, holdLimit, quotaIsOff } from './hold-limit.ts';
import { missing } from './missing.ts';
import { openData, type VolumeData } from './volume-data.ts';

/** What is wrong with a volume, as a sentence. A limit that somebody took away is set again on the way. */
export async function faultOfVolume(
  place: VolumePlace,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<string | undefined> {
  const ofPool = poolFault(await readMounts(), await realpath(place.path));
  return whileOpen(openData(place, signal), async (data) => {
    if (data === undefined) return missing(place, spec).message;
    return ofPool ?? (await faultOfData(place, data, spec, signal));
  });
}

async function faultOfData(
  place: VolumePlace,
  data: VolumeData,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<string | undefined> {
  const fileSystem = await fileSystemOf(place, signal);
  const faults = [
    ...deviceErrors(fileSystem).map(
      (text) =>
        `its file system has counted errors of ${text}; look at btrfs device stats ${fileSystem.mountPoint}`,
    ),
    ...(spec.limit === 'advisory' ? [] : await quotaFaults(fileSystem, data, spec, signal)),
  ];
  return faults.length === 0 ? undefined : faults.join('; ');
}

async function quotaFaults(
  fileSystem: BtrfsFileSystem,
  data: VolumeData,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<string[]> {
  const { mode, isInconsistent } = quotaState(fileSystem);
  if (mode === 'off') return [quotaIsOff(fileSystem, 'its size').message];
  const faults: string[] = [];
  if (isInconsistent) faults.push(await rescan(fileSystem, data, signal));
  else rescanned.delete(fileSystem.sysPath);
  const { nestedCount, usedBytes } = await holdLimit(fileSystem, data, spec, signal);
  if (nestedCount > 0) {
    faults.push(
      `it has ${nestedCount} subvolumes inside, which its limit did not hold until they were found; ` +
        `with them it has ${formatBytes(usedBytes)} of ${formatBytes(spec.sizeBytes)}`,
    );
  }
  return faults;
}

/** File systems whose scan was started since their numbers were last right, and when. */
const rescanned = new Map<string, number>();
/** A scan that was broken off, by an unmount or a crash, is started again after this. */
const rescanAgainMs = 3_600_000;

async function rescan(fileSystem: BtrfsFileSystem, data: VolumeData, signal: AbortSignal): Promise<string> {
  const { sysPath, mountPoint } = fileSystem;
  const sinceMs = performance.now() - (rescanned.get(sysPath) ?? Number.NEGATIVE_INFINITY);
  if (sinceMs > rescanAgainMs) {
    // before the first wait, or each volume of the pool would start one
    rescanned.set(sysPath, performance.now());
    try {
      await startRescan(commandPath(data.directory), signal);
    } catch (error) {
      rescanned.delete(sysPath);
      throw error;
    }
  }
  return `the quota numbers of ${mountPoint} were found inconsistent and are being counted again; until then sizes are not exact`;
}
