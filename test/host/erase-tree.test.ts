import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Directory } from '../../src/host/directory.ts';
import { eraseTree, type EraseOptions } from '../../src/host/erase-tree.ts';
import { unlimitedPace } from '../../src/host/pace.ts';
import { removeTree } from '../../src/host/remove-tree.ts';
import { silentLog } from '../../src/model/log.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const { signal } = new AbortController();
const options = (method: EraseOptions['method']): EraseOptions => ({
  method,
  signal,
  pace: unlimitedPace,
  log: silentLog,
});
const sh = (script: string, ...args: string[]) =>
  execFileSync('sh', ['-ec', script, 'sh', ...args], { encoding: 'utf8' });
const secret = 'a secret that must not be found again';
const isZero = (path: string) => readFileSync(path).every((byte) => byte === 0);
const whyNot = whyNoScratchPool('ext4');

describe.skipIf(whyNot !== '')(`what an erased tree leaves on the disk itself${whyNot}`, () => {
  it.each(['ext4', 'xfs'] as const)('is nothing of it on %s, by zeros or by random bytes', async (fsType) => {
    for (const method of ['zero', 'random'] as const) {
      await using pool = ScratchPool.make(fsType);
      mkdirSync(pool.at('volume/a/b'), { recursive: true });
      writeFileSync(pool.at('volume/one'), secret);
      writeFileSync(pool.at('volume/a/many'), secret.padEnd(4096, '.').repeat(500));
      sh('ln "$1/volume/a/many" "$1/volume/a/b/linked"', pool.path);
      sh(
        'truncate -s 1G "$1/volume/sparse"; printf %s "$2" | dd of="$1/volume/sparse" bs=1 seek=500000000 conv=notrunc status=none',
        pool.path,
        secret,
      );
      sh('sync; chattr +i "$1/volume/one"', pool.path);
      await pool.unmount();
      expect(pool.rawCount(secret)).toBe(502);
      pool.mount();
      const freeBlocks = statfsSync(pool.path).bfree;
      const report = await eraseTree(await pool.directory(), 'volume', options(method));
      expect(report).toMatchObject({ files: 3, leftBytes: 0n, passedOver: 0 });
      // a sparse file stays one: an extent tree may take a block or two, its holes would take 256,000
      expect(statfsSync(pool.path).bfree).toBeGreaterThan(freeBlocks - 64);
      await removeTree(await pool.directory(), 'volume', { signal, pace: unlimitedPace });
      await pool.unmount();
      expect(pool.rawCount(secret)).toBe(0);
    }
  });

  it('is nothing of a range that was zeroed through ext4, which reads as zeros and keeps its bytes', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('volume'));
    writeFileSync(pool.at('volume/zeroed'), secret.padEnd(65_536, '.'));
    sh('sync; fallocate --zero-range --offset 0 --length 65536 "$1/volume/zeroed"', pool.path);
    expect(isZero(pool.at('volume/zeroed'))).toBe(true);
    await pool.unmount();
    expect(pool.rawCount(secret)).toBe(1);
    pool.mount();
    await eraseTree(await pool.directory(), 'volume', options('zero'));
    await pool.unmount();
    expect(pool.rawCount(secret)).toBe(0);
  });

  it('is everything on a device whose node lay in the tree, and in a file mounted there', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('volume'));
    writeFileSync(pool.at('outside.img'), secret.padEnd(1024 * 1024, '.'));
    const device = sh('losetup --find --show "$1/outside.img"', pool.path).trim();
    try {
      sh(
        'cp -a "$2" "$1/volume/disk"; mknod "$1/volume/null" c 1 3; mkfifo "$1/volume/fifo"',
        pool.path,
        device,
      );
      const report = await eraseTree(await pool.directory(), 'volume', options('zero'));
      expect(report).toEqual({ files: 0, erasedBytes: 0n, leftBytes: 0n, passedOver: 3 });
    } finally {
      execFileSync('losetup', ['-d', device]);
    }
    writeFileSync(pool.at('volume/mounted'), '');
    execFileSync('mount', ['--bind', pool.at('outside.img'), pool.at('volume/mounted')]);
    await expect(eraseTree(await pool.directory(), 'volume', options('zero'))).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringContaining('volume/mounted') as string,
    });
    execFileSync('umount', [pool.at('volume/mounted')]);
    expect(readFileSync(pool.at('outside.img')).includes(secret)).toBe(true);
  });
});

describe.skipIf(whyNoScratchPool('xfs') !== '')(`erasing on xfs${whyNoScratchPool('xfs')}`, () => {
  it('leaves files with shared blocks alone, says so, and erases the others', async () => {
    await using pool = ScratchPool.make('xfs');
    mkdirSync(pool.at('volume'));
    writeFileSync(pool.at('original'), secret.padEnd(1024 * 1024, '.'));
    sh('cp --reflink=always "$1/original" "$1/volume/clone"', pool.path);
    writeFileSync(pool.at('volume/own'), secret);
    await expect(eraseTree(await pool.directory(), 'volume', options('zero'))).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringMatching(/^1 file of volume .* volume\/clone shares blocks/) as string,
    });
    expect(isZero(pool.at('volume/own'))).toBe(true);
    expect(readFileSync(pool.at('original')).includes(secret)).toBe(true);
    await eraseTree(await pool.directory(), 'volume', options('discard'));
    expect(isZero(pool.at('volume/clone'))).toBe(true);
    expect(readFileSync(pool.at('original')).includes(secret)).toBe(true);
  });
});

describe.skipIf(whyNoScratchPool('btrfs') !== '')(`erasing on btrfs${whyNoScratchPool('btrfs')}`, () => {
  it('refuses to overwrite before it touches anything and says what to do; discards', async () => {
    await using pool = ScratchPool.make('btrfs');
    mkdirSync(pool.at('volume'));
    writeFileSync(pool.at('volume/file'), secret.repeat(1000));
    writeFileSync(pool.at('volume/inline'), secret);
    await expect(eraseTree(await pool.directory(), 'volume', options('random'))).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringMatching(/copy-on-write.*use onDelete: delete, or scrub: discard/) as string,
    });
    expect(readFileSync(pool.at('volume/file')).includes(secret)).toBe(true);
    await eraseTree(await pool.directory(), 'volume', options('discard'));
    expect(isZero(pool.at('volume/file')) && isZero(pool.at('volume/inline'))).toBe(true);
  });
});

describe.skipIf(whyNot !== '')(`erasing on tmpfs${whyNot}`, () => {
  it('overwrites whole files and refuses sparse ones, of which it cannot know where they have blocks', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('memory'));
    sh('mount -t tmpfs none "$1/memory"; mkdir "$1/memory/volume"', pool.path);
    sh('truncate -s 1G "$1/memory/volume/sparse"', pool.path);
    await using memory = await Directory.open(pool.at('memory'));
    writeFileSync(pool.at('memory/volume/full'), secret);
    await expect(eraseTree(memory, 'volume', options('zero'))).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringContaining('volume/sparse is sparse') as string,
    });
    expect(isZero(pool.at('memory/volume/full'))).toBe(true);
    await eraseTree(memory, 'volume', options('discard'));
  });
});
