import { open } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import type { FsType } from '../model/volume.ts';

/** What the first superblock of a file system says. Of a mounted one it may be a little behind. */
export interface Superblock {
  /** of the device, as the file system uses it */
  readonly sizeBytes: bigint;
  /** as blkid writes it */
  readonly uuid: string;
  /** a journal or log has to be replayed before anything but a mount may change it; xfs does not say it here */
  readonly needsReplay: boolean | undefined;
  /** its errors were noted, or a change of its size was cut short: it wants its fsck */
  readonly wantsCheck: boolean;
  /** a rest at the end of the device that the file system can make no use of is smaller than this */
  readonly granuleBytes: bigint;
}

const MiB = 1n << 20n;

/** @throws StorageError 'data-loss' where the file is too short to hold one */
export async function readSuperblock(path: string, fsType: FsType): Promise<Superblock> {
  const { offset, parse } = layouts[fsType];
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(blockBytes), 0, blockBytes, offset);
    if (bytesRead === blockBytes) return parse(buffer);
  } finally {
    await file.close();
  }
  throw new StorageError(
    'data-loss',
    `${path} is too short to hold ${fsType}; restore it or delete the volume`,
  );
}

const blockBytes = 1024;

const layouts: Record<FsType, { readonly offset: number; readonly parse: (block: Buffer) => Superblock }> = {
  ext4: { offset: 1024, parse: parseExt4 },
  xfs: { offset: 0, parse: parseXfs },
  btrfs: { offset: 65_536, parse: parseBtrfs },
};

function parseExt4(block: Buffer): Superblock {
  const bytesPerBlock = 1024n << BigInt(block.readUInt32LE(0x18));
  const incompatible = block.readUInt32LE(0x60);
  const has64Bit = (incompatible & 0x80) !== 0;
  const blocks = BigInt(block.readUInt32LE(4)) | (has64Bit ? BigInt(block.readUInt32LE(0x150)) << 32n : 0n);
  // a last group has to hold its inode table, its bitmaps and some data
  const inodeTableBytes = BigInt(block.readUInt32LE(0x28)) * BigInt(block.readUInt16LE(0x58));
  return {
    sizeBytes: blocks * bytesPerBlock,
    uuid: formatUuid(block, 0x68),
    needsReplay: (incompatible & 0x4) !== 0,
    wantsCheck: (block.readUInt16LE(0x3a) & 0x2) !== 0,
    granuleBytes: inodeTableBytes + MiB,
  };
}

function parseXfs(block: Buffer): Superblock {
  return {
    sizeBytes: block.readBigUInt64BE(8) * BigInt(block.readUInt32BE(4)),
    uuid: formatUuid(block, 32),
    needsReplay: undefined,
    wantsCheck: false,
    // the smallest allocation group is 64 blocks
    granuleBytes: MiB,
  };
}

function parseBtrfs(block: Buffer): Superblock {
  return {
    sizeBytes: block.readBigUInt64LE(112),
    uuid: formatUuid(block, 32),
    needsReplay: block.readBigUInt64LE(96) !== 0n,
    wantsCheck: false,
    granuleBytes: MiB,
  };
}

function formatUuid(block: Buffer, offset: number): string {
  const hex = block.toString('hex', offset, offset + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
