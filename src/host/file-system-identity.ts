import { stat } from 'node:fs/promises';
import type { FsType } from '../model/volume.ts';
import { mountIdOf } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { readMounts, type Mount } from './mountinfo.ts';
import { readSuperblock } from './superblock.ts';

/** Which file system something lies on, in words that outlive reboots and another order of the disks. */
export interface FileSystemIdentity {
  /** as mountinfo says it */
  readonly type: string;
  /** of the file system itself; unset: it has none (overlay, tmpfs), or its device cannot be read here */
  readonly uuid?: string;
}

/** ext2 and ext3 have ext4's superblock. */
const layouts: Readonly<Record<string, FsType>> = {
  ext2: 'ext4',
  ext3: 'ext4',
  ext4: 'ext4',
  xfs: 'xfs',
  btrfs: 'btrfs',
};

/** Of an open directory, wherever it is mounted. Undefined where its mount is gone. Starts no process. */
export async function fileSystemIdentity(directory: Directory): Promise<FileSystemIdentity | undefined> {
  const mountId = mountIdOf(directory.fd);
  const mount = (await readMounts()).find(({ id }) => id === mountId);
  if (mount === undefined) return undefined;
  return identityOfMount(mount);
}

/** Of what is mounted somewhere. */
export async function identityOfMount(mount: Mount): Promise<FileSystemIdentity> {
  const { fsType: type } = mount;
  const uuid = await uuidOf(mount).catch(() => undefined);
  return { type, ...(uuid === undefined ? {} : { uuid }) };
}

async function uuidOf({ fsType, source, device }: Mount): Promise<string | undefined> {
  const layout = Object.hasOwn(layouts, fsType) ? layouts[fsType] : undefined;
  if (layout === undefined || !source.startsWith('/')) return undefined;
  const found = await stat(source, { bigint: true });
  // a name that leads to another disk here than where it was mounted; btrfs has a number of its own
  const isSame = layout === 'btrfs' || numberOf(found.rdev) === device;
  if (!found.isBlockDevice() || !isSame) return undefined;
  return (await readSuperblock(source, layout)).uuid;
}

/** `major:minor`, as the kernel packs them. */
function numberOf(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}
