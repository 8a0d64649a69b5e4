import { descriptorPathForCommands } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { run } from './run.ts';

/**
 * Writes everything of the file system that an open directory is on through to the disk, which for many small files is much less
 * work than one fsync each. Others' unwritten data goes too, so it may take minutes on a busy disk.
 */
export async function syncFileSystem(directory: Directory, signal: AbortSignal): Promise<void> {
  await run('sync', ['--file-system', descriptorPathForCommands(directory.fd)], {
    signal,
    timeoutMs: 3_600_000,
  });
}
