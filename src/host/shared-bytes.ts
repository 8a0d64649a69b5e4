import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { errorCode } from './descriptor.ts';
import { findExtents } from './extents.ts';

/**
 * How much of each file other files have too (reflinks), in order. A question to the file system, which answers in a time that grows
 * with how fragmented they are: for now and then, a few files at once.
 *
 * @returns undefined for a file that is gone
 * @throws StorageError as `findExtents`
 */
export async function sharedBytesOf(
  paths: readonly string[],
  signal: AbortSignal,
): Promise<readonly (bigint | undefined)[]> {
  const files: (FileHandle | undefined)[] = [];
  try {
    for (const path of paths) files.push(await openIfPresent(path));
    const there = files.filter((file) => file !== undefined);
    // the command answers nothing where it is asked nothing
    const found =
      there.length === 0
        ? []
        : await findExtents(
            there.map(({ fd }) => fd),
            signal,
          );
    return files.map((file) => {
      if (file === undefined) return undefined;
      const extents = found?.[there.indexOf(file)] ?? [];
      return extents.reduce((sum, extent) => (extent.isShared ? sum + extent.lengthBytes : sum), 0n);
    });
  } finally {
    for (const file of files) await file?.close();
  }
}

async function openIfPresent(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
