import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/host/crc32c.ts';
import { renewExt4InPlace } from '../../../src/host/ext4-uuid.ts';
import { readSuperblock } from '../../../src/host/superblock.ts';

/** Has mkfs and tune2fs write the same time. */
const env = { ...process.env, E2FSPROGS_FAKE_TIME: '1700000000' };

const why = spawnSync('mkfs.ext4', ['-V']).error === undefined ? '' : ' (needs e2fsprogs)';

it('a checksum is the Castagnoli one, as its check value says', () => {
  expect((~crc32c(0xffffffff, Buffer.from('123456789')) >>> 0).toString(16)).toBe('e3069283');
});

describe.skipIf(why !== '')(`another uuid for an ext4${why}`, () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'loam-ext4-uuid-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const make = (size: number, ...options: readonly string[]): string => {
    const path = join(folder, 'image');
    writeFileSync(path, '');
    truncateSync(path, size);
    execFileSync('mkfs.ext4', ['-q', '-F', ...options, path], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return path;
  };
  /** The places of the superblocks, which is all that may differ. */
  const superblocks = (path: string, places: readonly number[]): Buffer[] => {
    const content = readFileSync(path);
    return places.map((place) => content.subarray(place, place + 1024));
  };
  const check = (path: string): string =>
    execFileSync('e2fsck', ['-fn', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

  it.each([
    ['of many groups', 128 << 20, ['-b', '1024']],
    ['that was copied before', 32 << 20, ['-O', 'metadata_csum_seed']],
    ['without 64 bits', 160 << 20, ['-O', '^64bit']],
  ])('%s is what tune2fs would make of it, byte for byte', async (_what, size, options) => {
    const path = make(size, ...options);
    const other = join(folder, 'other');
    copyFileSync(path, other);
    const before = await readSuperblock(path, 'ext4');
    expect(await renewExt4InPlace(path)).toBe(true);
    const { uuid } = await readSuperblock(path, 'ext4');
    expect(uuid).not.toBe(before.uuid);
    expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    execFileSync('tune2fs', ['-O', 'metadata_csum_seed', '-U', uuid, other], { env, stdio: 'ignore' });
    const isSame = readFileSync(path).equals(readFileSync(other));
    expect(isSame).toBe(true);
    check(path);
  });

  it('is left to tune2fs where checksums do not go by a seed, or the journal has to be replayed', async () => {
    for (const options of [
      ['-O', '^metadata_csum'],
      ['-O', 'meta_bg,^resize_inode'],
      ['-O', 'sparse_super2'],
    ]) {
      const path = make(32 << 20, ...options);
      const before = superblocks(path, [1024]);
      expect(await renewExt4InPlace(path)).toBe(false);
      expect(superblocks(path, [1024])).toEqual(before);
    }
    const path = make(32 << 20);
    execFileSync('debugfs', ['-w', '-R', 'feature needs_recovery', path], { stdio: 'ignore' });
    expect(await renewExt4InPlace(path)).toBe(false);
  });

  it('is not given to what is damaged, or says nonsense of itself', async () => {
    const path = make(32 << 20);
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.from([0, 0, 0, 0]), 0, 4, 1024 + 0x20);
    closeSync(file);
    const before = superblocks(path, [1024]);
    expect(await renewExt4InPlace(path)).toBe(false);
    expect(superblocks(path, [1024])).toEqual(before);
    truncateSync(path, 1500);
    expect(await renewExt4InPlace(path)).toBe(false);
  });
});
