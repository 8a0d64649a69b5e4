import { realpath, stat } from 'node:fs/promises';
import { mountCovering, readMounts } from './mountinfo.ts';

/**
 * One text for all that shares a file system's space. Not `st_dev`, of which btrfs has another one for each subvolume.
 */
export async function fileSystemIdOf(path: string): Promise<string> {
  const real = await realpath(path);
  return mountCovering(await readMounts(), real)?.device ?? `dev ${(await stat(real)).dev}`;
}
