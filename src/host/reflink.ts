import { constants } from 'node:fs';
import { copyFile, lstat, open, type FileHandle } from 'node:fs/promises';
import { descriptorPath } from './descriptor.ts';
import { imageFailure } from './images.ts';
import { isErrno } from './mounts.ts';
import { run } from './run.ts';

/** Linux' O_TMPFILE without O_DIRECTORY, which Node does not name: a file that has no name and goes with its descriptor. */
const nameless = 0o20_000_000 | constants.O_DIRECTORY;

/** Whether files in this directory can share blocks, found out by having two empty ones do it. Leaves nothing. */
export async function canReflink(directoryPath: string): Promise<boolean> {
  const opened: FileHandle[] = [];
  try {
    for (let count = 0; count < 2; count += 1) {
      opened.push(await open(directoryPath, constants.O_RDWR | nameless, 0o600));
    }
    const [source, target] = opened;
    if (source === undefined || target === undefined) return false;
    await shareBlocks(source, target);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'EISDIR', 'ENOSYS', 'EROFS'))
      return false;
    throw error;
  } finally {
    await Promise.all(opened.map((file) => file.close()));
  }
}

/**
 * Makes a new file, mode 0600, that shares all blocks with another one, as of one moment: writes to the source wait meanwhile.
 * What the page cache has of the source is written first. Not durable yet.
 *
 * @param targetPath must not exist, as a link neither
 */
export async function reflinkFile(
  sourcePath: string,
  targetPath: string,
  signal: AbortSignal,
): Promise<void> {
  const source = await open(sourcePath, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_NOFOLLOW;
    const target = await open(targetPath, flags, 0o600);
    try {
      await shareBlocks(source, target).catch(async (error: unknown) => {
        if (!isErrno(error, 'EINVAL')) throw error;
        // on btrfs a file without copy-on-write shares with its like only
        await run('chattr', ['+C', '--', targetPath], { signal });
        await shareBlocks(source, target);
      });
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function shareBlocks(source: FileHandle, target: FileHandle): Promise<void> {
  await copyFile(descriptorPath(source.fd), descriptorPath(target.fd), constants.COPYFILE_FICLONE_FORCE);
}

/** Gives a file on xfs blocks of its own for all that it shares with others. Nothing happens to what it does not share. */
export async function unshare(path: string, signal: AbortSignal): Promise<void> {
  const { size } = await lstat(path);
  try {
    await run('xfs_io', ['-c', `funshare 0 ${size}`, path], { signal, timeoutMs: 3_600_000 });
  } catch (error) {
    throw imageFailure(error, path, BigInt(size));
  }
}
