import { readlink, stat } from 'node:fs/promises';
import { descriptorPath, mountIdOf } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { isAtOrBelow, readMounts, type Mount } from './mountinfo.ts';

/** The inode of a subvolume's root on btrfs, which mkdir never gives to a folder. */
const subvolumeRootInode = 256n;

/**
 * Whether an open directory is all of a file system, or of a btrfs subvolume, and not a folder on somebody else's. Right
 * in a container too, where every folder of the host is a mount point: a bind mount shows which folder it came from.
 *
 * @returns what it is instead; undefined: it is one
 */
export async function whyNoOwnFileSystem(directory: Directory): Promise<string | undefined> {
  const path = await readlink(descriptorPath(directory.fd));
  const { ino } = await stat(descriptorPath(directory.fd), { bigint: true });
  const mountId = mountIdOf(directory.fd);
  const mount = (await readMounts()).find(({ id }) => id === mountId);
  return describeFolder(mount, path, ino);
}

/**
 * @param mount the one that the directory belongs to; undefined: mountinfo does not show it any more
 * @param path the directory's, without links
 */
export function describeFolder(mount: Mount | undefined, path: string, inode: bigint): string | undefined {
  if (mount === undefined) return 'on a file system that was unmounted';
  const { fsType, root, mountPoint, source } = mount;
  if (fsType === 'btrfs' && inode === subvolumeRootInode) return undefined;
  if (mountPoint === path && root === '/') return undefined;
  const below = isAtOrBelow(path, mountPoint) ? path.slice(mountPoint.length).replace(/^\//, '') : '';
  const folder = [root === '/' ? '' : root, ...(below === '' ? [] : [below])].join('/');
  return `the folder ${folder === '' ? '/' : folder} on the ${fsType} of ${source}`;
}
