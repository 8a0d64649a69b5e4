import { constants, type BigIntStats } from 'node:fs';
import { chmod, open, type FileHandle } from 'node:fs/promises';
import { clearDescriptors } from './clear-flags.ts';
import { descriptorPath, entryPath, errorCode, mountIdOf, pathOnly } from './descriptor.ts';

/** An entry that is held without being open for input or output: whatever it is, nothing happened to it. */
export interface PinnedEntry {
  readonly handle: FileHandle;
  readonly stat: BigIntStats;
  readonly mountId: number;
}

/** Pins one entry of an open directory, the link itself where it is one. Undefined where there is none. */
export async function pinEntry(directoryFd: number, name: Buffer): Promise<PinnedEntry | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(entryPath(directoryFd, name), pathOnly | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return { handle, stat: await handle.stat({ bigint: true }), mountId: mountIdOf(handle.fd) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Opens a pinned regular file for reading and writing: through the pin, hence the very inode that was looked at and not
 * what has its name by now. Missing write permission and the immutable flag are taken away first.
 */
export async function openPinned(entry: PinnedEntry, signal: AbortSignal): Promise<FileHandle> {
  if (!entry.stat.isFile()) throw new Error('only regular files are opened for erasing');
  try {
    return await openChecked(entry);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EACCES') await chmod(descriptorPath(entry.handle.fd), 0o600);
    else if (code === 'EPERM') await clearDescriptors([entry.handle.fd], signal);
    else throw error;
    return openChecked(entry);
  }
}

async function openChecked(entry: PinnedEntry): Promise<FileHandle> {
  const handle = await open(descriptorPath(entry.handle.fd), constants.O_RDWR | constants.O_NONBLOCK);
  const now = await handle.stat({ bigint: true });
  const isSame = now.isFile() && now.ino === entry.stat.ino && now.dev === entry.stat.dev;
  if (isSame && mountIdOf(handle.fd) === entry.mountId) return handle;
  await handle.close();
  throw new Error('a file changed its identity between two looks');
}
