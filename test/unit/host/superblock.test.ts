import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseErrorStats } from '../../../src/host/filesystems.ts';
import { readSuperblock } from '../../../src/host/superblock.ts';

const uuid = '00112233-4455-6677-8899-aabbccddeeff';
const uuidBytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'loam-superblock-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function imageWith(fill: (content: Buffer) => void): string {
  const content = Buffer.alloc(70_000);
  fill(content);
  const path = join(folder, 'image');
  writeFileSync(path, content);
  return path;
}

it.each([
  ['clean', 0x2c2, 1, { needsReplay: false, wantsCheck: false }],
  ['with a journal to replay', 0x2c6, 1, { needsReplay: true, wantsCheck: false }],
  ['with errors', 0x2c2, 3, { needsReplay: false, wantsCheck: true }],
])(
  'an ext4 %s says its size beyond 16 TiB, its uuid and its state',
  async (_state, features, state, expected) => {
    const path = imageWith((content) => {
      content.writeUInt32LE(5, 1024 + 0x4);
      content.writeUInt32LE(2, 1024 + 0x18);
      content.writeUInt32LE(8192, 1024 + 0x28);
      content.writeUInt16LE(state, 1024 + 0x3a);
      content.writeUInt16LE(256, 1024 + 0x58);
      content.writeUInt32LE(features, 1024 + 0x60);
      uuidBytes.copy(content, 1024 + 0x68);
      content.writeUInt32LE(1, 1024 + 0x150);
    });
    const superblock = await readSuperblock(path, 'ext4');
    expect(superblock).toEqual({
      sizeBytes: (1n << 44n) + 5n * 4096n,
      uuid,
      granuleBytes: 3n << 20n,
      ...expected,
    });
  },
);

it('an xfs says its size and its uuid, and not whether its log has to be replayed', async () => {
  const path = imageWith((content) => {
    content.writeUInt32BE(4096, 4);
    content.writeBigUInt64BE(1n << 32n, 8);
    uuidBytes.copy(content, 32);
  });
  expect(await readSuperblock(path, 'xfs')).toMatchObject({
    sizeBytes: 1n << 44n,
    uuid,
    needsReplay: undefined,
  });
});

it.each([
  [0n, false],
  [30_408_704n, true],
])(
  'a btrfs with its log at %d says its size, its uuid and whether the log has to be replayed',
  async (log, needsReplay) => {
    const path = imageWith((content) => {
      uuidBytes.copy(content, 65_536 + 32);
      content.writeBigUInt64LE(log, 65_536 + 96);
      content.writeBigUInt64LE(1n << 40n, 65_536 + 112);
    });
    expect(await readSuperblock(path, 'btrfs')).toMatchObject({ sizeBytes: 1n << 40n, uuid, needsReplay });
  },
);

it('an image that is too short for a superblock is damaged', async () => {
  const path = join(folder, 'short');
  writeFileSync(path, Buffer.alloc(2000));
  await expect(readSuperblock(path, 'ext4')).rejects.toMatchObject({ reason: 'data-loss' });
});

it('the errors that btrfs counts are told where there are any', () => {
  const text = 'write_errs 0\nread_errs 2\nflush_errs 0\ncorruption_errs 17\ngeneration_errs 0\n';
  expect(parseErrorStats(text)).toEqual(['2 read errors', '17 corruption errors']);
  expect(parseErrorStats('')).toEqual([]);
});
