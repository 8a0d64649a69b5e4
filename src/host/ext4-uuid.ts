import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { crc32c } from './crc32c.ts';

/**
 * Gives an ext4 that nobody has mounted, and whose journal holds nothing, another uuid by writing its superblocks only: the checksums
 * of everything else go on from the old one, which is noted as their seed, as tune2fs does it. Not durable yet.
 *
 * @returns false where it has to be done in another way; nothing is changed then
 * Crash-safe: the first superblock is written last; the copies that a crash leaves ahead of it are put right by a repeat.
 */
export async function renewExt4InPlace(path: string): Promise<boolean> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const first = await readBlock(file, superblockBytes);
    if (first === undefined || !isSimple(first)) return false;
    const { size } = await file.stat();
    const uuid = randomUuid();
    for (const offset of copiesOf(first).filter((end) => end < size)) {
      const copy = await readBlock(file, offset);
      // one that is damaged is fsck's to mend, from the first
      if (copy !== undefined && isWhole(copy)) await writeBlock(file, offset, renewed(copy, uuid));
    }
    await writeBlock(file, superblockBytes, renewed(first, uuid));
    return true;
  } finally {
    await file.close();
  }
}

/** of a superblock, and where the first one lies */
const superblockBytes = 1024;

/** where the fields are, ext4's `struct ext4_super_block` */
const at = {
  blocks: 0x04,
  firstBlock: 0x14,
  blockSize: 0x18,
  groupBlocks: 0x20,
  magic: 0x38,
  compatible: 0x5c,
  incompatible: 0x60,
  readonlyCompatible: 0x64,
  uuid: 0x68,
  blocksHigh: 0x150,
  checksumType: 0x175,
  checksumSeed: 0x270,
  checksum: 0x3fc,
} as const;

const journalDevice = 0x8;
const needsReplay = 0x4;
const has64Bit = 0x80;
const groupsOfDescriptors = 0x10;
const seedNoted = 0x2000;
const sparseCopies = 0x1;
const metadataChecksums = 0x400;
const copiesNamed = 0x200;
const crc32cType = 1;

/** Whole, with checksums of everything by one seed, an empty journal inside, and copies of the superblock where they usually are. */
function isSimple(block: Buffer): boolean {
  const incompatible = block.readUInt32LE(at.incompatible);
  return (
    isWhole(block) &&
    (incompatible & (journalDevice | needsReplay | groupsOfDescriptors)) === 0 &&
    block.readUInt32LE(at.groupBlocks) > 0 &&
    (block.readUInt32LE(at.readonlyCompatible) & sparseCopies) !== 0 &&
    (block.readUInt32LE(at.compatible) & copiesNamed) === 0
  );
}

function isWhole(block: Buffer): boolean {
  return (
    block.readUInt16LE(at.magic) === 0xef53 &&
    (block.readUInt32LE(at.readonlyCompatible) & metadataChecksums) !== 0 &&
    block.readUInt8(at.checksumType) === crc32cType &&
    block.readUInt32LE(at.checksum) === checksumOf(block)
  );
}

function checksumOf(block: Buffer): number {
  return crc32c(0xffffffff, block.subarray(0, at.checksum));
}

function renewed(block: Buffer, uuid: Buffer): Buffer {
  const next = Buffer.from(block);
  const incompatible = block.readUInt32LE(at.incompatible);
  if ((incompatible & seedNoted) === 0) {
    const seed = crc32c(0xffffffff, block.subarray(at.uuid, at.uuid + uuid.length));
    next.writeUInt32LE(seed, at.checksumSeed);
    next.writeUInt32LE((incompatible | seedNoted) >>> 0, at.incompatible);
  }
  uuid.copy(next, at.uuid);
  next.writeUInt32LE(checksumOf(next), at.checksum);
  return next;
}

/** Where the copies lie: at the head of group 1, and of those that are powers of 3, 5 and 7. */
function copiesOf(block: Buffer): number[] {
  const blockBytes = 1024 * 2 ** block.readUInt32LE(at.blockSize);
  const groupBlocks = block.readUInt32LE(at.groupBlocks);
  const firstBlock = block.readUInt32LE(at.firstBlock);
  const isLarge = (block.readUInt32LE(at.incompatible) & has64Bit) !== 0;
  const blocks = block.readUInt32LE(at.blocks) + (isLarge ? block.readUInt32LE(at.blocksHigh) * 2 ** 32 : 0);
  const groups = Math.ceil((blocks - firstBlock) / groupBlocks);
  const holders = [1];
  for (const base of [3, 5, 7]) {
    for (let group = base; group < groups; group *= base) holders.push(group);
  }
  return holders
    .filter((group) => group < groups)
    .map((group) => (firstBlock + group * groupBlocks) * blockBytes);
}

/** of random numbers, version 4 */
function randomUuid(): Buffer {
  const uuid = randomBytes(16);
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x40, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid;
}

async function readBlock(file: FileHandle, offset: number): Promise<Buffer | undefined> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(superblockBytes), 0, superblockBytes, offset);
  return bytesRead === superblockBytes ? buffer : undefined;
}

async function writeBlock(file: FileHandle, offset: number, block: Buffer): Promise<void> {
  await file.write(block, 0, block.length, offset);
}
