import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { descriptorPathForCommands, entryPath, errorCode, pathOnly } from './descriptor.ts';
import { run } from './run.ts';

/**
 * Takes the immutable and append-only flags off an open directory and some of its entries, so that they can be removed
 * or overwritten. Entries are pinned first and handed over by descriptor: any bytes may be in a name, and a link that is
 * swapped in is not followed. Only regular files and directories have such flags; the others are passed over.
 *
 * xfs_io, since chattr takes no descriptor of a file; the ioctl behind it works on every file system that has the flags.
 * @throws CommandError where the flags cannot be changed
 */
export async function clearFlags(
  directoryFd: number,
  names: readonly Buffer[],
  signal: AbortSignal,
): Promise<void> {
  const pinned: FileHandle[] = [];
  try {
    for (const name of names) {
      const handle = await pin(directoryFd, name);
      if (handle === undefined) continue;
      pinned.push(handle);
    }
    const kinds = await Promise.all(pinned.map((handle) => handle.stat()));
    const fds = pinned
      .filter((_, index) => kinds[index]?.isFile() === true || kinds[index]?.isDirectory() === true)
      .map((each) => each.fd);
    await clearDescriptors([directoryFd, ...fds], signal);
  } finally {
    await Promise.all(pinned.map((handle) => handle.close()));
  }
}

/** The same for things that are open already; regular files and directories only. */
export async function clearDescriptors(fds: readonly number[], signal: AbortSignal): Promise<void> {
  await run('xfs_io', ['-r', '-c', 'chattr -ia', ...fds.map(descriptorPathForCommands)], {
    signal,
    timeoutMs: 30_000,
  });
}

async function pin(directoryFd: number, name: Buffer): Promise<FileHandle | undefined> {
  try {
    return await open(entryPath(directoryFd, name), pathOnly | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
