import { statfs } from 'node:fs/promises';

export type FileSystemType = 'ext4' | 'xfs' | 'btrfs' | 'tmpfs' | 'overlay' | 'other';

export interface FileSystemStatus {
  readonly type: FileSystemType;
  readonly totalBytes: bigint;
  /** what an ordinary user can still write; root's reserve is not counted */
  readonly availableBytes: bigint;
  /** 0n where the file system has no fixed number of inodes */
  readonly totalInodes: bigint;
  readonly freeInodes: bigint;
  /** overwriting a file writes new blocks and leaves the old ones: erasing in place is impossible */
  readonly isCopyOnWrite: boolean;
}

/** f_type as statfs(2) has it. 0xef53 is ext2 and ext3 too, which behave alike for us. */
const types: Readonly<Record<string, FileSystemType>> = {
  ef53: 'ext4',
  '58465342': 'xfs',
  '9123683e': 'btrfs',
  '1021994': 'tmpfs',
  '794c7630': 'overlay',
};

/** btrfs, zfs, bcachefs, f2fs, nilfs2 */
const copyOnWrite = new Set(['9123683e', '2fc12fc1', 'ca451a4e', 'f2f52010', '3434']);

/** The file system that a path is on, and how full it is. Never walks anything. */
export async function statFileSystem(path: string): Promise<FileSystemStatus> {
  const found = await statfs(path, { bigint: true });
  // the field is a signed 32-bit number on some architectures
  const magic = (found.type & 0xffff_ffffn).toString(16);
  return {
    type: types[magic] ?? 'other',
    totalBytes: found.blocks * found.bsize,
    availableBytes: found.bavail * found.bsize,
    totalInodes: found.files,
    freeInodes: found.ffree,
    isCopyOnWrite: copyOnWrite.has(magic),
  };
}
