import { constants } from 'node:fs';
import { access, lstat, mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { descriptorPath, errorCode } from './descriptor.ts';
import { Directory } from './directory.ts';

/** What tells one directory from another, also after something else is mounted at its path. */
export interface Identity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** Of whatever a path leads to now; undefined where it leads nowhere. */
export async function identityAt(path: string): Promise<Identity | undefined> {
  try {
    const found = await stat(path, { bigint: true });
    return { device: found.dev, inode: found.ino };
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** Of the directory that is held open. */
export async function identityOf(dir: Directory): Promise<Identity> {
  const found = await stat(descriptorPath(dir.fd), { bigint: true });
  return { device: found.dev, inode: found.ino };
}

/** Whether an entry is there and could be written: one call that also knows a read-only file system. */
export async function writability(
  dir: Directory,
  name: string,
): Promise<'writable' | 'absent' | 'read-only'> {
  try {
    await access(dir.entry(name), constants.W_OK);
    return 'writable';
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return 'absent';
    if (code === 'EROFS') return 'read-only';
    throw error;
  }
}

/** Opens a directory, made with its parents where absent. For our own folders only, never for a pool or a target. */
export async function openOrMake(path: string, mode: number): Promise<Directory> {
  await mkdir(path, { recursive: true, mode });
  return Directory.open(path);
}

/** The path with every link on the way resolved, as far as it exists; its last component is left as it is. */
export async function resolveParent(path: string): Promise<string> {
  const parent = dirname(path);
  if (parent === path) return path;
  try {
    return join(await realpath(parent), basename(path));
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return join(await resolveParent(parent), basename(path));
  }
}

/** What is at a path, not following a link; `empty` where it is a file of no bytes. */
export async function kindAt(
  path: string,
): Promise<'absent' | 'directory' | 'empty' | 'file' | 'link' | 'other'> {
  try {
    const found = await lstat(path);
    if (found.isDirectory()) return 'directory';
    if (found.isSymbolicLink()) return 'link';
    if (!found.isFile()) return 'other';
    return found.size === 0 ? 'empty' : 'file';
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return 'absent';
    throw error;
  }
}

/** A name of this boot: what was kept for another boot's mounts says nothing about ours. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
