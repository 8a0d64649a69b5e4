import { constants, type BigIntStats } from 'node:fs';
import { open, statfs, type FileHandle } from 'node:fs/promises';
import { descriptorPath, descriptorPathForCommands } from './descriptor.ts';
import { imageFailure, outOfSpace, verifyAllocated, type ImageOptions } from './images.ts';
import { run } from './run.ts';

/**
 * Makes an image at least this large, and allocates all of it where it is thick. Never shorter: one that is larger stays so.
 * Its new size is on disk when it resolves.
 *
 * @throws StorageError 'out-of-space'; then it is as large as it was
 * Crash-safe: a repeat finishes what was begun; between, it may be larger than its file system.
 */
export async function extendImage(path: string, options: ImageOptions): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const before = await file.stat({ bigint: true });
    const isLarge = before.size >= options.sizeBytes;
    if (isLarge && (!options.thick || before.blocks * 512n >= options.sizeBytes)) return;
    try {
      if (options.thick) await allocateRest(file, path, before, options);
      else await file.truncate(Number(options.sizeBytes));
      await file.sync();
    } catch (error) {
      if (!isLarge) await file.truncate(Number(before.size)).catch(() => {});
      throw imageFailure(error, path, options.sizeBytes);
    }
  } finally {
    await file.close();
  }
}

async function allocateRest(
  file: FileHandle,
  path: string,
  before: BigIntStats,
  { sizeBytes, signal }: ImageOptions,
): Promise<void> {
  const { bavail, bsize } = await statfs(descriptorPath(file.fd), { bigint: true });
  const missingBytes = sizeBytes - before.blocks * 512n;
  // the kernel would take all that there is before it gives up, and fail the writes of every other volume meanwhile
  if (bavail * bsize < missingBytes) throw outOfSpace(path, missingBytes);
  const args = ['--length', sizeBytes.toString(), '--', descriptorPathForCommands(file.fd)];
  await run('fallocate', args, { signal, timeoutMs: 110_000 });
  await verifyAllocated(path, sizeBytes);
}
