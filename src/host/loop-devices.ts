import { readFileSync, readdirSync } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StorageError } from '../model/errors.ts';
import { readMounts } from './mountinfo.ts';
import { absentAsUndefined, deviceNumber, isMountOf } from './mounts.ts';
import { CommandError, run } from './run.ts';

/** A loop device that is attached to a file. */
export interface LoopDevice {
  /** `/dev/loopN` */
  readonly path: string;
  /** `major:minor`, as mountinfo shows mounts of it */
  readonly device: string;
  readonly backingFile: string;
  readonly readonly: boolean;
  readonly directIo: boolean;
  /** it goes by itself once nobody has it open any more */
  readonly goesWhenUnused: boolean;
}

export interface AttachOptions {
  readonly directIo: boolean;
  readonly readonly: boolean;
  readonly signal: AbortSignal;
}

const deletedSuffix = ' (deleted)';

/**
 * The loop device of an image: one that is attached already, with the same access, or a new one.
 *
 * Two writable devices over one image would be two caches over one file system, so there is never a second.
 * Direct I/O is given up where the pool's file system refuses it; `LoopDevice.directIo` tells.
 * @throws StorageError 'host-failure' naming what the kernel or losetup said
 * Crash-safe: a device attached before a crash is found again by its backing file.
 */
export async function attach(imagePath: string, options: AttachOptions): Promise<LoopDevice> {
  const present = (await devicesOf(imagePath, options.signal)).find(
    (device) => device.readonly === options.readonly,
  );
  // one that is about to go would go under our hands, and its number to another image
  if (present !== undefined && !(await hasGone(present, options.signal))) return present;
  const path = await attachNew(imagePath, options);
  const device = (await devicesOf(imagePath, options.signal)).find((candidate) => candidate.path === path);
  if (device !== undefined) return device;
  await detach(path, options.signal);
  throw new StorageError(
    'host-failure',
    `${path} was attached to ${imagePath} but does not show it in /sys/block; mount sysfs at /sys`,
  );
}

const attempts = 5;

async function attachNew(imagePath: string, options: AttachOptions): Promise<string> {
  let directIo = options.directIo;
  for (let attempt = 1; ; attempt += 1) {
    const access = options.readonly ? ['--read-only'] : [];
    const direct = directIo ? ['--direct-io=on'] : [];
    try {
      const args = ['--find', '--show', ...access, ...direct, '--', imagePath];
      return (await run('losetup', args, { signal: options.signal })).stdout.trim();
    } catch (error) {
      if (!(error instanceof CommandError) || error.isMissing) throw error;
      if (attempt >= attempts) throw cannotAttach(imagePath, error);
      // the device itself may be attached although direct I/O was refused
      for (const left of await devicesOf(imagePath, options.signal)) {
        if (left.readonly === options.readonly) return left.path;
      }
      if (/direct.io|dio/i.test(error.stderr)) directIo = false;
      else if (!(await makeMissingNodes(options.signal)) && !isRace(error))
        throw cannotAttach(imagePath, error);
      await sleep(5 * attempt, undefined, { signal: options.signal });
    }
  }
}

/** Somebody else took the free device first. */
function isRace(error: CommandError): boolean {
  return /busy|try again|no such (?:file|device)/i.test(error.stderr);
}

function cannotAttach(imagePath: string, cause: CommandError): StorageError {
  return new StorageError(
    'host-failure',
    `loop devices cannot be attached: ${cause.message} (image ${imagePath}); see that the node has the module loop and that /dev is the node's`,
    {
      cause,
      facts: cause.facts,
    },
  );
}

/**
 * The loop devices of an image, whatever path it had when it was attached, and from whichever mount namespace.
 *
 * sysfs names candidates (it may show another path after a rename, a part of one from another namespace, or
 * `(deleted)`); device and inode number of the backing file decide. An image that is gone is compared by its path.
 */
export async function devicesOf(imagePath: string, signal: AbortSignal): Promise<LoopDevice[]> {
  const candidates = attachedDevices().filter((device) => isCandidate(device.backingFile, imagePath));
  if (candidates.length === 0) return [];
  const image = await stat(imagePath, { bigint: true }).catch(absentAsUndefined);
  if (image === undefined) {
    const ending = `/${basename(dirname(imagePath))}/${basename(imagePath)}${deletedSuffix}`;
    return candidates.filter((device) => device.backingFile.endsWith(ending));
  }
  await makeMissingNodes(signal);
  const backing = await backingFiles(signal);
  const identity = `${deviceNumber(image.dev)} ${image.ino}`;
  return candidates.filter((device) => backing.get(device.path) === identity);
}

/** Whether a device's backing file may be this image by its name: the same folder and file name at the end of its path. */
export function isCandidate(backingFile: string, imagePath: string): boolean {
  const path = backingFile.endsWith(deletedSuffix)
    ? backingFile.slice(0, -deletedSuffix.length)
    : backingFile;
  return (
    basename(path) === basename(imagePath) &&
    (basename(dirname(path)) === basename(dirname(imagePath)) || dirname(path) === '/')
  );
}

/** Every attached loop device, from sysfs alone. Synchronous, since sysfs never blocks and there may be hundreds. */
export function attachedDevices(): LoopDevice[] {
  return loopNames().flatMap((name) => deviceNamed(name) ?? []);
}

/** Whether the file behind a device has no name any more. */
export function isDeleted({ backingFile }: Pick<LoopDevice, 'backingFile'>): boolean {
  return backingFile.endsWith(deletedSuffix);
}

function deviceNamed(name: string): LoopDevice | undefined {
  const backingFile = readSysfs(`${name}/loop/backing_file`);
  if (backingFile === undefined) return undefined;
  return {
    path: `/dev/${name}`,
    device: readSysfs(`${name}/dev`) ?? '',
    backingFile,
    readonly: readSysfs(`${name}/ro`) === '1',
    directIo: readSysfs(`${name}/loop/dio`) === '1',
    goesWhenUnused: readSysfs(`${name}/loop/autoclear`) === '1',
  };
}

function loopNames(): string[] {
  return readdirSync('/sys/block').filter((name) => /^loop\d+$/.test(name));
}

function readSysfs(path: string): string | undefined {
  try {
    return readFileSync(`/sys/block/${path}`, 'utf8').replace(/\n$/, '');
  } catch {
    return undefined;
  }
}

/** `/dev/loopN` -> `major:minor inode` of its backing file, as the kernel keeps it. */
async function backingFiles(signal: AbortSignal): Promise<Map<string, string>> {
  const { stdout } = await run('losetup', ['--list', '--json', '--output', 'NAME,BACK-INO,BACK-MAJ:MIN'], {
    signal,
  });
  if (stdout.trim() === '') return new Map();
  return parseBackingFiles(JSON.parse(stdout));
}

/** Reads losetup's JSON; rows without numbers (a device detached meanwhile) are passed over. */
export function parseBackingFiles(listing: unknown): Map<string, string> {
  const found = new Map<string, string>();
  const rows =
    isRecord(listing) && Array.isArray(listing['loopdevices']) ? (listing['loopdevices'] as unknown[]) : [];
  for (const row of rows) {
    if (!isRecord(row)) continue;
    const { name, 'back-ino': inode, 'back-maj:min': device } = row;
    if (typeof name !== 'string' || typeof device !== 'string') continue;
    if (typeof inode === 'number' || typeof inode === 'string') found.set(name, `${device.trim()} ${inode}`);
  }
  return found;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/**
 * Makes the device nodes that a static /dev lacks, as in a container: a loop device that came after the start.
 *
 * @returns whether one was missing
 */
async function makeMissingNodes(signal: AbortSignal): Promise<boolean> {
  let hasMade = false;
  // one look at the folder: hundreds of devices may be there, and this is asked before each of their uses
  const present = new Set(readdirSync('/dev'));
  for (const name of loopNames()) {
    if (present.has(name)) continue;
    const path = `/dev/${name}`;
    const [major, minor] = (readSysfs(`${name}/dev`) ?? '').split(':');
    if (major === undefined || minor === undefined) continue;
    await run('mknod', ['--mode=0660', '--', path, 'b', major, minor], { signal }).catch(
      async (error: unknown) => {
        if (!(await exists(path))) throw error;
      },
    );
    hasMade = true;
  }
  return hasMade;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/**
 * Detaches a loop device. One that is detached already is success; one that is still open goes by itself once the
 * last user closes it, and until then `devicesOf` goes on naming it. Who only looks at it is waited for, not who has it mounted.
 *
 * @param backingFile what it was seen with: where it has another one by now, it went and came again as somebody else's
 */
export async function detach(path: string, signal: AbortSignal, backingFile?: string): Promise<void> {
  const before = attachedDevice(path);
  if (before === undefined || (backingFile ?? before.backingFile) !== before.backingFile) return;
  try {
    await run('losetup', ['--detach', path], { signal });
  } catch (error) {
    if (readSysfs(`${basename(path)}/loop/backing_file`) !== undefined) throw error;
  }
  await hasGone(before, signal);
}

/** A look at a device (a listing by losetup, a scan by udev) has it open for some milliseconds. */
const looksWithinMs = 1000;

/**
 * Whether a device that goes when nobody has it open any more is gone, which is waited for a little.
 *
 * @returns false for one that stays: it was not let go of, or it is mounted, or somebody keeps it open
 */
async function hasGone({ path, backingFile }: LoopDevice, signal: AbortSignal): Promise<boolean> {
  const endMs = performance.now() + looksWithinMs;
  for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 50)) {
    const device = attachedDevice(path);
    if (device === undefined || device.backingFile !== backingFile) return true;
    if (!device.goesWhenUnused || performance.now() > endMs || signal.aborted) return false;
    if ((await readMounts()).some((mount) => isMountOf(mount, device))) return false;
    await sleep(delayMs);
  }
}

function attachedDevice(path: string): LoopDevice | undefined {
  return deviceNamed(basename(path));
}

/** Tells a loop device that its image may have grown; one that knows already stays as it is. */
export async function updateCapacity(path: string, sizeBytes: bigint, signal: AbortSignal): Promise<void> {
  if (deviceBytes(path) >= sizeBytes) return;
  await run('losetup', ['--set-capacity', path], { signal });
  const presentBytes = deviceBytes(path);
  if (presentBytes >= sizeBytes) return;
  throw new StorageError(
    'host-failure',
    `${path} was told that its image has ${sizeBytes} bytes, and still has ${presentBytes}; run losetup --set-capacity ${path}, and repeat`,
  );
}

function deviceBytes(path: string): bigint {
  return BigInt(readSysfs(`${basename(path)}/size`) ?? '0') * 512n;
}

/** Writes what the kernel keeps of a device's data through to its image. */
export async function flushDevice(path: string): Promise<void> {
  const device = await open(path, 'r');
  try {
    await device.sync();
  } finally {
    await device.close();
  }
}
