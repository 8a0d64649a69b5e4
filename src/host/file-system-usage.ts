import { statfs } from 'node:fs/promises';

export interface FileSystemUsage {
  readonly totalBytes: bigint;
  readonly availableBytes: bigint;
  /** total less free: what is taken, root's reserve not counted as such */
  readonly usedBytes: bigint;
  /** 0n where the file system makes inodes as it needs them */
  readonly totalInodes: bigint;
  readonly freeInodes: bigint;
}

/** How full a file system is, by one system call. */
export async function fileSystemUsage(path: string): Promise<FileSystemUsage> {
  const found = await statfs(path, { bigint: true });
  return {
    totalBytes: found.blocks * found.bsize,
    availableBytes: found.bavail * found.bsize,
    usedBytes: (found.blocks - found.bfree) * found.bsize,
    totalInodes: found.files,
    freeInodes: found.ffree,
  };
}
