import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type KeptFiles, Lost, refuseDifference, sumOf } from './kept-volume.ts';

/** A raw block volume is written and compared in regions of this length, which the model has by their names. */
const regionBytes = 512 << 10;

const byFsync = constants.O_WRONLY;
const byFlag = constants.O_WRONLY | constants.O_DSYNC;

/**
 * Writes the last region of the device and one of a few others, over what is there: on disk when this resolves, by fsync the one and by
 * O_DSYNC the other.
 *
 * @param turn which of the others
 * @returns what the model has to know
 * @throws Lost where the target is no device, so that nothing that is written there stays
 */
export async function writeRegions(
  devicePath: string,
  sizeMiB: number,
  turn: number,
  bytes: Buffer,
): Promise<KeptFiles> {
  const last = regionsOf(sizeMiB) - 1;
  const other = [0, 1, Math.floor(last / 2)][turn % 3] ?? 0;
  const whole = Buffer.concat([bytes, Buffer.alloc(regionBytes)]).subarray(0, regionBytes);
  await writeAt(devicePath, byFsync, other * regionBytes, whole);
  await writeAt(devicePath, byFlag, last * regionBytes, whole);
  const sum = sumOf(whole);
  return new Map([other, last].map((region) => [nameOf(region), sum]));
}

/** @throws Lost naming each region that is changed or beyond the device's end, Leaked for those that nobody wrote and that are not empty */
export async function compareRegions(
  what: string,
  devicePath: string,
  sizeMiB: number,
  regions: KeptFiles,
): Promise<void> {
  const device = await openDevice(devicePath, constants.O_RDONLY);
  try {
    const empty = Buffer.alloc(regionBytes);
    const missing: string[] = [];
    const changed: string[] = [];
    const strange: string[] = [];
    for (let region = 0; region < regionsOf(sizeMiB); region += 1) {
      const { bytesRead, buffer } = await device.read(
        Buffer.alloc(regionBytes),
        0,
        regionBytes,
        region * regionBytes,
      );
      const name = nameOf(region);
      const sum = regions.get(name);
      if (bytesRead < regionBytes) missing.push(name);
      else if (sum === undefined && !buffer.equals(empty)) strange.push(name);
      else if (sum !== undefined && sum !== sumOf(buffer)) changed.push(name);
    }
    refuseDifference(what, { missing, changed, strange });
  } finally {
    await device.close();
  }
}

async function writeAt(devicePath: string, flags: number, offset: number, bytes: Buffer): Promise<void> {
  const device = await openDevice(devicePath, flags);
  try {
    const { bytesWritten } = await device.write(bytes, 0, bytes.length, offset);
    if (bytesWritten < bytes.length)
      throw new Lost(`${devicePath} took ${bytesWritten} of ${bytes.length} bytes at ${offset}`);
    if (flags === byFsync) await device.sync();
  } finally {
    await device.close();
  }
}

async function openDevice(devicePath: string, flags: number): Promise<FileHandle> {
  const device = await open(devicePath, flags);
  if ((await device.stat()).isBlockDevice()) return device;
  await device.close();
  throw new Lost(`${devicePath} is published and no device`);
}

function regionsOf(sizeMiB: number): number {
  return (sizeMiB << 20) / regionBytes;
}

function nameOf(region: number): string {
  return `region ${region}`;
}
