import { constants } from 'node:fs';
import { chmod, open, type FileHandle } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import { descriptorPath, entryPath, errorCode, mountIdOf, pathOnly } from './descriptor.ts';

const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const ownerAll = 0o700n;

export interface DirectoryIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

export interface OpenedDirectory {
  readonly handle: FileHandle;
  readonly identity: DirectoryIdentity;
  readonly mountId: number;
  /** of the directory itself, which tells on every file system whether it has many entries */
  readonly sizeBytes: bigint;
}

/**
 * Opens one entry of an open directory as a directory, never through a link. One of ours without permission bits gets
 * them (which only matters where we are not root): through its own descriptor, so that no swapped-in link is changed.
 *
 * @param readsOnly nothing is given bits that it lacks: it fails with EACCES instead
 */
export async function openDirectoryAt(
  parentFd: number,
  name: Buffer,
  readsOnly = false,
): Promise<OpenedDirectory | 'absent' | 'not-a-directory'> {
  let handle: FileHandle;
  try {
    handle = readsOnly ? await open(entryPath(parentFd, name), flags) : await openPermitting(parentFd, name);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return 'absent';
    if (code === 'ENOTDIR' || code === 'ELOOP') return 'not-a-directory';
    throw error;
  }
  try {
    const found = await handle.stat({ bigint: true });
    const mountId = mountIdOf(handle.fd);
    const isMissingBits = !readsOnly && (found.mode & ownerAll) !== ownerAll;
    if (isMissingBits && process.geteuid?.() !== 0) await handle.chmod(0o700);
    const identity = { device: found.dev, inode: found.ino };
    return { handle, identity, mountId, sizeBytes: found.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openPermitting(parentFd: number, name: Buffer): Promise<FileHandle> {
  const path = entryPath(parentFd, name);
  try {
    return await open(path, flags);
  } catch (error) {
    if (errorCode(error) !== 'EACCES') throw error;
  }
  const pinned = await open(path, flags | pathOnly);
  try {
    await chmod(descriptorPath(pinned.fd), 0o700);
    return await open(descriptorPath(pinned.fd), constants.O_RDONLY | constants.O_DIRECTORY);
  } finally {
    await pinned.close();
  }
}

/**
 * The directory above an open one, if it still is the one that we came through.
 * @throws StorageError 'busy' where somebody moved the open one elsewhere meanwhile: a repeat starts from the top
 */
export async function openParentOf(fd: number, expected: DirectoryIdentity): Promise<FileHandle> {
  const parent = await open(`${descriptorPath(fd)}/..`, flags);
  try {
    const found = await parent.stat({ bigint: true });
    if (found.dev === expected.device && found.ino === expected.inode) return parent;
    throw new StorageError('busy', 'a directory was moved while the tree was worked on; it is tried again');
  } catch (error) {
    await parent.close();
    throw error;
  }
}
