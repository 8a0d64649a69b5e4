import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, link, lstat, open, readlink, rename, rmdir, symlink, unlink } from 'node:fs/promises';
import { descriptorPath, errorCode } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { temporaryPrefix } from './durable-file.ts';

/** Makes a symbolic link, in the place of whatever file or link had the name. Atomic, not durable. */
export async function replaceLink(dir: Directory, name: string, target: string): Promise<void> {
  if (await linkWhereAbsent(dir, name, target)) return;
  const temporary = dir.entry(`${temporaryPrefix}${randomBytes(9).toString('hex')}`);
  await symlink(target, temporary);
  try {
    await rename(temporary, dir.entry(name));
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

async function linkWhereAbsent(dir: Directory, name: string, target: string): Promise<boolean> {
  try {
    await symlink(target, dir.entry(name));
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Makes an empty file where there is none. Atomic, not durable. */
export async function touchFile(dir: Directory, name: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await (await open(dir.entry(name), flags, 0o600)).close();
}

/** Where a link leads; undefined where there is no link of that name. */
export async function readLinkIfPresent(dir: Directory, name: string): Promise<string | undefined> {
  try {
    return await readlink(dir.entry(name));
  } catch (error) {
    if (['ENOENT', 'EINVAL'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** Removes a file or link (never what it leads to); absent is fine. */
export async function removeFile(dir: Directory, name: string): Promise<void> {
  try {
    await unlink(dir.entry(name));
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

/**
 * Moves an entry where nothing has that name; a directory may also take the place of an empty one. Durable when it resolves. Killed in
 * the middle, a file has both names.
 * @returns false: something has that name, and both are as they were
 */
export async function moveWhereAbsent(
  dir: Directory,
  name: string,
  to: Directory,
  toName: string,
): Promise<boolean> {
  const isDirectory = (await lstat(dir.entry(name))).isDirectory();
  try {
    // rename(2) would take the place of a file; link(2) never does, but knows no directories
    await (isDirectory ? rename : link)(dir.entry(name), to.entry(toName));
  } catch (error) {
    if (['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(errorCode(error) ?? '')) return false;
    throw error;
  }
  await to.sync();
  if (!isDirectory) await unlink(dir.entry(name));
  await dir.sync();
  return true;
}

/** Removes a directory if nothing is in it. @returns whether it is gone */
export async function removeIfEmpty(dir: Directory, name: string): Promise<boolean> {
  try {
    await rmdir(dir.entry(name));
    return true;
  } catch (error) {
    const code = errorCode(error) ?? '';
    if (code === 'ENOENT') return true;
    if (['ENOTEMPTY', 'EEXIST'].includes(code)) return false;
    throw error;
  }
}

/** Sets the permission bits of the open directory itself. */
export async function setMode(dir: Directory, mode: number): Promise<void> {
  await chmod(descriptorPath(dir.fd), mode);
}
