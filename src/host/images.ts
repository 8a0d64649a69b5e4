import { constants } from 'node:fs';
import { lstat, open, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StorageError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';
import { isErrno } from './mounts.ts';
import { CommandError, run } from './run.ts';

/** Loop devices with direct I/O on disks with large sectors, and every file system's blocks, need this. */
const imageAlignmentBytes = 4096n;
const btrfsMagic = 0x9123683en;

export interface ImageOptions {
  /** exact; a multiple of 4096 */
  readonly sizeBytes: bigint;
  /** whether every block is allocated now, so that a full pool cannot fail a later write */
  readonly thick: boolean;
  readonly signal: AbortSignal;
}

/**
 * Makes a new image file of exactly this size, mode 0600, replacing a leftover at the path. Not durable yet.
 *
 * @throws StorageError 'out-of-space' (thick; nothing is left) | 'invalid-argument' | 'size-out-of-range'
 */
export async function createImage(path: string, options: ImageOptions): Promise<void> {
  if (options.sizeBytes <= 0n || options.sizeBytes % imageAlignmentBytes !== 0n) {
    throw new StorageError(
      'invalid-argument',
      `an image of ${options.sizeBytes} bytes cannot be made; its size has to be a multiple of ${imageAlignmentBytes}`,
    );
  }
  try {
    await rm(path, { force: true });
    await makeFile(path, options);
  } catch (error) {
    await discardImage(path);
    throw imageFailure(error, path, options.sizeBytes);
  }
}

async function makeFile(path: string, options: ImageOptions): Promise<void> {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
  const file = await open(path, flags, 0o600);
  try {
    if (options.thick) await allocate(path, options);
    else await file.truncate(Number(options.sizeBytes));
  } finally {
    await file.close();
  }
}

async function allocate(path: string, options: ImageOptions): Promise<void> {
  const { type, bavail, bsize } = await statfs(path, { bigint: true });
  // the kernel would take all that there is before it gives up, and fail the writes of every other volume meanwhile
  if (bavail * bsize < options.sizeBytes) throw outOfSpace(path, options.sizeBytes);
  // copy-on-write would look for new blocks at every overwrite, and find none in a full pool
  if (type === btrfsMagic) await run('chattr', ['+C', '--', path], options);
  const args = ['--length', options.sizeBytes.toString(), '--', path];
  await run('fallocate', args, { signal: options.signal, timeoutMs: 110_000 });
}

/** What an image takes of its disk now; undefined where it is gone. */
export async function allocatedBytes(path: string): Promise<bigint | undefined> {
  try {
    return (await lstat(path, { bigint: true })).blocks * 512n;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/**
 * Whether a thick image still has all its blocks, after whatever was done to it.
 * @throws StorageError 'host-failure'
 */
export async function verifyAllocated(path: string, sizeBytes: bigint): Promise<void> {
  const { blocks } = await lstat(path, { bigint: true });
  if (blocks * 512n >= sizeBytes) return;
  throw new StorageError(
    'host-failure',
    `${path} was allocated but holds only ${formatBytes(blocks * 512n)} of ${formatBytes(sizeBytes)}; ` +
      'the file system of this pool cannot hold thick volumes',
  );
}

/** What a failed step of making an image means: a full pool, a file too large for it, or the failure itself. */
export function imageFailure(error: unknown, path: string, sizeBytes: bigint): StorageError {
  const isFull =
    isErrno(error, 'ENOSPC', 'EDQUOT') ||
    (error instanceof CommandError && /no space left|quota exceeded/i.test(error.stderr));
  if (isFull) return outOfSpace(path, sizeBytes, error);
  if (isErrno(error, 'EFBIG') || (error instanceof CommandError && /file too large/i.test(error.stderr))) {
    return new StorageError(
      'size-out-of-range',
      `the pool's file system cannot hold one file of ${formatBytes(sizeBytes)}; ask for less`,
      { cause: error },
    );
  }
  return StorageError.from(error, `making the image ${path}`);
}

export function outOfSpace(path: string, sizeBytes: bigint, cause?: unknown): StorageError {
  return new StorageError(
    'out-of-space',
    `the pool has no ${formatBytes(sizeBytes)} left for ${path}; ask for less, free space or add a pool`,
    { cause },
  );
}

/** Gives a finished image its name, on disk when it resolves: from then on an image of that name is whole. */
export async function installImage(temporaryPath: string, path: string): Promise<void> {
  await syncPath(temporaryPath);
  await rename(temporaryPath, path);
  await syncPath(dirname(path));
}

/** Gives an image that is on disk its name. Where the directory is not synced after it, the name may be lost again, but never leads to less. */
export async function nameImage(temporaryPath: string, path: string): Promise<void> {
  await rename(temporaryPath, path);
}

/** Removes an image that was never installed; where even that fails, what led here is what matters. */
export async function discardImage(temporaryPath: string): Promise<void> {
  await rm(temporaryPath, { force: true }).catch(() => {});
}

/**
 * Tells a failure for want of space from others, also where a program says only that a write failed.
 * @param neededBytes what was still to be written, at most
 */
export async function wantsSpace(directory: string, neededBytes: bigint): Promise<boolean> {
  const { bavail, bsize } = await statfs(directory, { bigint: true });
  return bavail * bsize < neededBytes;
}

/** Writes a file or a directory through to the disk, as before `nameImage`. */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The image's size in bytes, or undefined where no regular file is there. */
export async function imageSize(path: string): Promise<bigint | undefined> {
  try {
    const stats = await lstat(path, { bigint: true });
    return stats.isFile() ? stats.size : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
