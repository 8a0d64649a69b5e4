import { lstat, mkdir, open, readdir, realpath, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { StorageError } from '../model/errors.ts';
import { isAtOrBelow, mountAt, readMounts } from './mountinfo.ts';
import { absentAsUndefined, canonicalTarget, isErrno } from './mounts.ts';

const pathMax = 4096;
const nameMax = 255;

/**
 * Whether a path that came from outside can be a mount target at all, by its text.
 *
 * @throws StorageError 'invalid-argument'
 */
export function checkTargetPath(path: string): void {
  const fault = faultOf(path);
  if (fault === undefined) return;
  throw new StorageError('invalid-argument', `target path ${JSON.stringify(path.slice(0, 200))} ${fault}`);
}

function faultOf(path: string): string | undefined {
  if (!path.startsWith('/')) return 'is not absolute';
  if (path.includes('\0')) return 'holds a NUL byte';
  if (path.split('/').includes('..')) return 'holds ".."';
  if (Buffer.byteLength(path) >= pathMax) return `is longer than ${pathMax - 1} bytes`;
  if (path.split('/').some((name) => Buffer.byteLength(name) > nameMax))
    return `has a name of more than ${nameMax} bytes`;
  return posix.normalize(path) === '/' ? 'is the root directory' : undefined;
}

export interface TargetOptions {
  /** directories that no target may lie in: the pools */
  readonly outside?: readonly string[];
}

/**
 * Makes sure that there is an empty directory, or a mount, at the path; parents are made too (0750).
 *
 * @returns the path with the links of its parents followed, as mountinfo will show it
 * @throws StorageError 'invalid-argument', or 'bad-target' for a link, a file, a directory with something in it, or a
 *   path in a pool
 */
export async function ensureTargetDirectory(path: string, options: TargetOptions = {}): Promise<string> {
  const target = await prepareParent(path, options);
  const present = await lstat(target).catch(absentAsUndefined);
  if (present === undefined) {
    await mkdir(target, { mode: 0o750 }).catch(existsAsDone);
    return target;
  }
  if (!present.isDirectory()) throw badTarget(target, 'is not a directory; remove it');
  const isMounted = mountAt(await readMounts(), target) !== undefined;
  if (!isMounted && (await readdir(target)).length > 0) {
    throw badTarget(
      target,
      'is a directory with something in it, which a mount would hide; empty or remove it',
    );
  }
  return target;
}

/** The same for a file: the place where a block device will appear. */
export async function ensureTargetFile(path: string, options: TargetOptions = {}): Promise<string> {
  const target = await prepareParent(path, options);
  const present = await lstat(target).catch(absentAsUndefined);
  if (present === undefined) {
    const file = await open(target, 'wx', 0o640).catch(existsAsDone);
    await file?.close();
    return target;
  }
  if (present.isFile() && present.size === 0) return target;
  // a device published before is seen through the mount
  if (present.isBlockDevice() && mountAt(await readMounts(), target) !== undefined) return target;
  throw badTarget(target, 'is there already and is not an empty file; remove it');
}

/**
 * Removes a target after it was unmounted: an empty directory or an empty file, nothing else. Absent is success.
 *
 * @throws StorageError 'bad-target' for anything with content, a link or another kind of file; 'in-use' while mounted
 */
export async function removeTarget(path: string): Promise<void> {
  checkTargetPath(path);
  const target = await canonicalTarget(path).catch(absentAsUndefined);
  if (target === undefined) return;
  const present = await lstat(target).catch(absentAsUndefined);
  if (present === undefined) return;
  try {
    if (present.isDirectory()) await rmdir(target);
    else if (present.isFile() && present.size === 0) await unlink(target);
    else throw badTarget(target, 'is not an empty file or directory; it is not ours to remove');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    if (isErrno(error, 'EBUSY'))
      throw new StorageError('in-use', `${target} is still mounted; stop what uses it`, { cause: error });
    if (!isErrno(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    throw badTarget(
      target,
      'is not a mount any more but has files in it; look at them and remove it by hand',
    );
  }
}

async function prepareParent(path: string, options: TargetOptions): Promise<string> {
  checkTargetPath(path);
  const clean = posix.normalize(path).replace(/\/$/, '');
  for (const forbidden of options.outside ?? []) refuseInside(clean, forbidden);
  await mkdir(dirname(clean), { recursive: true, mode: 0o750 }).catch((error: unknown) => {
    if (isErrno(error, 'EEXIST', 'ENOTDIR'))
      throw badTarget(clean, 'lies below something that is not a directory');
    throw StorageError.from(error, `making the parent of ${clean}`);
  });
  const target = join(await realpath(dirname(clean)), basename(clean));
  for (const forbidden of options.outside ?? []) {
    refuseInside(target, (await realpath(forbidden).catch(absentAsUndefined)) ?? forbidden);
  }
  return target;
}

function refuseInside(target: string, pool: string): void {
  if (isAtOrBelow(target, pool)) throw badTarget(target, `lies in the pool ${pool}; publish somewhere else`);
}

function badTarget(target: string, fault: string): StorageError {
  return new StorageError('bad-target', `target path ${target} ${fault}`);
}

function existsAsDone(error: unknown): undefined {
  if (isErrno(error, 'EEXIST')) return undefined;
  throw error;
}
