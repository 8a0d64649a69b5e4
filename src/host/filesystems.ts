import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { StorageError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';
import type { FsType } from '../model/volume.ts';
import { attach, detach } from './loop-devices.ts';
import { runInPrivateMount } from './private-mount.ts';
import { CommandError, run } from './run.ts';
import { readSuperblock } from './superblock.ts';
import type { RootOwner } from './volume-root.ts';

export interface FormatOptions {
  readonly root: RootOwner;
  readonly thick: boolean;
  readonly signal: AbortSignal;
}

const MiB = 1n << 20n;

/** The least size of an image that the file system's own tool makes and that is of use afterwards. */
const minimumBytes: Record<FsType, bigint> = { ext4: 8n * MiB, xfs: 300n * MiB, btrfs: 109n * MiB };

/** @throws StorageError 'size-out-of-range', with the number */
export function checkFormattable(fsType: FsType, sizeBytes: bigint): void {
  const least = minimumBytes[fsType];
  if (sizeBytes >= least) return;
  throw new StorageError(
    'size-out-of-range',
    `${fsType} needs at least ${formatBytes(least)}, ${formatBytes(sizeBytes)} were asked for; ask for more or use ext4`,
  );
}

/**
 * Bytes that a new thin image with this file system takes, from above. Measured with e2fsprogs 1.47, xfsprogs 6.1 and
 * btrfs-progs 6.2 for sizes from 64 MiB to 8 TiB; ext4's are the descriptors reserved for growth.
 */
export function metadataBytes(fsType: FsType, sizeBytes: bigint): bigint {
  const perSize = sizeBytes / 65536n;
  if (fsType === 'ext4') return MiB / 8n + smaller(sizeBytes / 1600n, 5n * MiB) + perSize;
  return (fsType === 'xfs' ? 66n * MiB : 6n * MiB) + perSize;
}

function smaller(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

/**
 * Makes a file system in an image file, without a loop device where that can be. The image holds nothing yet:
 * never call this for one that may have data.
 *
 * Blocks of 4096 bytes everywhere, so that an image also works on a loop device with large sectors. Nothing is discarded:
 * a thin image has nothing to discard, a thick one must keep its blocks.
 * @throws StorageError 'size-out-of-range' is for the caller (`checkFormattable`); here CommandError only
 */
export async function format(path: string, fsType: FsType, options: FormatOptions): Promise<void> {
  if (fsType === 'ext4') await formatExt4(path, options);
  else if (fsType === 'xfs') await formatXfs(path, options);
  else {
    await run('mkfs.btrfs', ['--quiet', '--force', '--nodiscard', '--', path], options);
    await setRootByMounting(path, fsType, options);
  }
}

async function formatExt4(path: string, { root, signal }: FormatOptions): Promise<void> {
  const owner = `root_owner=${root.uid}:${root.gid}`;
  // the blocks are known to be zero: no inode table has to be cleared, now or by the kernel after the first mount
  const zeroed = [
    'lazy_itable_init=1',
    'lazy_journal_init=1',
    'assume_storage_prezeroed=1',
    'nodiscard',
    owner,
  ];
  const make = async (extended: readonly string[]): Promise<unknown> =>
    run('mkfs.ext4', ['-q', '-F', '-m', '0', '-b', '4096', '-E', extended.join(','), '--', path], { signal });
  try {
    await make(zeroed);
  } catch (error) {
    // e2fsprogs before 1.47
    if (!isUnknownOption(error, 'assume_storage_prezeroed')) throw error;
    await make(zeroed.filter((option) => !option.startsWith('assume_')));
  }
  const mode = (0o040000 | root.mode).toString(8).padStart(6, '0');
  // debugfs ends with 0 whatever happens, so what it did is read back
  const input = `set_inode_field / mode ${mode}\nstat /\n`;
  const { stdout } = await run('debugfs', ['-w', '-f', '-', path], { signal, input });
  const [, read] = /Mode:\s+([0-7]+)/.exec(stdout) ?? [];
  if (read !== undefined && Number.parseInt(read, 8) === root.mode) return;
  throw new StorageError(
    'host-failure',
    `debugfs did not set mode ${mode} on the root of ${path}; it says ${read ?? 'nothing'}`,
  );
}

async function formatXfs(path: string, options: FormatOptions): Promise<void> {
  // mkfs.xfs has no room for the sticky bit in its prototypes
  const isSticky = (options.root.mode & 0o1000) !== 0;
  const prototypePath = `${path}.prototype`;
  await writeFile(prototypePath, xfsPrototype(options.root));
  try {
    const args = ['-q', '-f', '-K', '-s', 'size=4096', '-p', prototypePath];
    // a log for large disks would take up to 2 GiB of the pool for nothing
    if (!options.thick) args.push('-l', 'size=64m');
    args.push('-m', xfsFeatures(release()));
    const make = async (inode: string): Promise<unknown> =>
      run('mkfs.xfs', [...args, '-i', inode, '--', path], options);
    try {
      await make('sparse=1,nrext64=0');
    } catch (error) {
      // xfsprogs before 5.19, which do not turn it on either
      if (!isUnknownOption(error, 'nrext64')) throw error;
      await make('sparse=1');
    }
  } finally {
    await rm(prototypePath, { force: true });
  }
  if (isSticky) await setRootByMounting(path, 'xfs', options);
}

/**
 * Features that this node's kernel and older ones can mount, told to mkfs.xfs one by one: newer tools turn on what old
 * kernels refuse, and the lists of old features that Debian 12 ships beside mkfs.xfs are refused by mkfs.xfs itself.
 */
export function xfsFeatures(kernelRelease: string): string {
  const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
  const since510 = major > 5 || (major === 5 && minor >= 10) ? 1 : 0;
  return `crc=1,finobt=1,reflink=1,rmapbt=0,bigtime=${since510},inobtcount=${since510}`;
}

/** An empty root directory, in mkfs.xfs's prototype language. */
export function xfsPrototype({ mode, uid, gid }: RootOwner): string {
  const setuid = (mode & 0o4000) === 0 ? '-' : 'u';
  const setgid = (mode & 0o2000) === 0 ? '-' : 'g';
  const bits = (mode & 0o777).toString(8).padStart(3, '0');
  return `/\n0 0\nd${setuid}${setgid}${bits} ${uid} ${gid}\n$\n`;
}

function isUnknownOption(error: unknown, option: string): boolean {
  return error instanceof CommandError && error.stderr.includes(option);
}

/** Mounts the image once, where nobody sees it. A loop device left by a crash is found by the next attempt. */
async function setRootByMounting(
  path: string,
  fsType: FsType,
  { root, signal }: FormatOptions,
): Promise<void> {
  const { path: device } = await attach(path, { directIo: false, readonly: false, signal });
  const mode = root.mode.toString(8).padStart(4, '0');
  const script = 'chown "$1" . && chmod "$2" .';
  try {
    await runInPrivateMount({
      device,
      fsType,
      place: dirname(path),
      script,
      args: [`${root.uid}:${root.gid}`, mode],
      signal,
    });
  } finally {
    await detach(device, AbortSignal.timeout(10_000));
  }
}

const magics: readonly { readonly fsType: FsType; readonly offset: number; readonly bytes: Buffer }[] = [
  { fsType: 'xfs', offset: 0, bytes: Buffer.from('XFSB') },
  { fsType: 'ext4', offset: 1080, bytes: Buffer.from([0x53, 0xef]) },
  { fsType: 'btrfs', offset: 65600, bytes: Buffer.from('_BHRfS_M') },
];

/** Which of our file systems an image or device starts with, by its magic; undefined: none of them. */
export async function probeType(path: string): Promise<FsType | undefined> {
  const file = await open(path, 'r');
  try {
    for (const { fsType, offset, bytes } of magics) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(bytes.length), 0, bytes.length, offset);
      if (bytesRead === bytes.length && buffer.equals(bytes)) return fsType;
    }
    return undefined;
  } finally {
    await file.close();
  }
}

/** What is known to be wrong with a mounted file system, as a sentence; undefined: nothing. Reads sysfs, starts no program. */
export async function faultOf(devicePath: string, fsType: FsType): Promise<string | undefined> {
  if (fsType === 'btrfs') return faultOfBtrfs(devicePath);
  if (fsType !== 'ext4') return undefined;
  const name = devicePath.replace('/dev/', '');
  const count = await readFile(`/sys/fs/ext4/${name}/errors_count`, 'utf8').catch(() => '0');
  if (Number(count) === 0) return undefined;
  return `its ext4 has recorded ${count.trim()} errors; stop its pods and run e2fsck on the image`;
}

async function faultOfBtrfs(devicePath: string): Promise<string | undefined> {
  const { uuid } = await readSuperblock(devicePath, 'btrfs');
  const path = `/sys/fs/btrfs/${uuid}/devinfo/1/error_stats`;
  const counts = parseErrorStats(await readFile(path, 'utf8').catch(() => ''));
  if (counts.length === 0) return undefined;
  return `its btrfs has recorded ${counts.join(', ')}; run btrfs scrub in it, or restore it`;
}

/** The counters of btrfs that are not zero, as texts. */
export function parseErrorStats(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [, kind, count] = /^(\w+)_errs (\d+)$/.exec(line) ?? [];
    return kind === undefined || count === undefined || Number(count) === 0 ? [] : `${count} ${kind} errors`;
  });
}
