import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../src/host/pace.ts';
import { removeTree } from '../../src/host/remove-tree.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';
import { ScratchDirectory, fingerprint } from '../support/scratch-directory.ts';

const { signal } = new AbortController();
const options = { signal, pace: unlimitedPace };
const whyNot = whyNoScratchPool('ext4');
const whyNotBtrfs = whyNoScratchPool('btrfs');
const sh = (script: string, ...args: string[]) =>
  execFileSync('sh', ['-ec', script, 'sh', ...args], { encoding: 'utf8' });

describe.skipIf(whyNot !== '')(`removing a tree with mounts inside${whyNot}`, () => {
  it.each([
    ['a bind mount of the same file system', 'mount --bind "$1/outside" "$1/volume/a/mounted"'],
    [
      'another file system',
      'mount -t tmpfs none "$1/volume/a/mounted"; echo kept > "$1/volume/a/mounted/file"',
    ],
  ])('stops at %s, names the place, touches nothing of it, and goes on once it is gone', async (_, mount) => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('outside/deep'), { recursive: true });
    writeFileSync(pool.at('outside/deep/file'), 'kept');
    mkdirSync(pool.at('volume/a/mounted'), { recursive: true });
    sh(mount, pool.path);
    const before = fingerprint(pool.at('volume/a/mounted'));
    await expect(removeTree(await pool.directory(), 'volume', options)).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringContaining('volume/a/mounted') as string,
    });
    expect(fingerprint(pool.at('volume/a/mounted'))).toBe(before);
    execFileSync('umount', [pool.at('volume/a/mounted')]);
    await removeTree(await pool.directory(), 'volume', options);
    expect(existsSync(pool.at('volume'))).toBe(false);
    expect(existsSync(pool.at('outside/deep/file'))).toBe(true);
  });

  it('stops at a file that is mounted over a file, and at a volume that is a mount itself', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('volume'));
    writeFileSync(pool.at('volume/file'), '');
    writeFileSync(pool.at('outside'), 'kept');
    execFileSync('mount', ['--bind', pool.at('outside'), pool.at('volume/file')]);
    await expect(removeTree(await pool.directory(), 'volume', options)).rejects.toMatchObject({
      reason: 'cannot-erase',
    });
    expect(statSync(pool.at('outside')).size).toBe(4);
    execFileSync('umount', [pool.at('volume/file')]);
    execFileSync('mount', ['--bind', pool.at('volume'), pool.at('volume')]);
    await expect(removeTree(await pool.directory(), 'volume', options)).rejects.toMatchObject({
      reason: 'cannot-erase',
    });
    expect(readdirSync(pool.at('volume'))).toEqual(['file']);
    execFileSync('umount', [pool.at('volume')]);
    await removeTree(await pool.directory(), 'volume', options);
    expect(existsSync(pool.at('volume'))).toBe(false);
  });
});

describe.skipIf(whyNot !== '')(`removing what only root can make${whyNot}`, () => {
  it('removes device nodes, and immutable and append-only files and directories with any name', async () => {
    await using pool = ScratchPool.make('ext4');
    mkdirSync(pool.at('volume/frozen/inner'), { recursive: true });
    const odd = Buffer.concat([Buffer.from(`${pool.at('volume')}/`), Buffer.from([0xff, 0x0a, 0x20])]);
    writeFileSync(odd, 'x');
    writeFileSync(pool.at('volume/append-only'), 'x');
    writeFileSync(pool.at('volume/frozen/inner/file'), 'x');
    sh(
      'cd "$1/volume"; mknod block b 7 0; mknod char c 1 5; chattr +i ./???; chattr +a append-only; chattr -R +i frozen; chattr +i .',
      pool.path,
    );
    await removeTree(await pool.directory(), 'volume', options);
    expect(existsSync(pool.at('volume'))).toBe(false);
  });

  it('removes 100,000 files in one directory and 10,000 levels of directories', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume'));
    const make = `
import os, sys
os.chdir(sys.argv[1])
for i in range(100000): os.close(os.open("f%d" % i, os.O_CREAT | os.O_WRONLY))
for i in range(10000):
  os.mkdir("d"); os.chdir("d")
`;
    execFileSync('python3', ['-c', make, scratch.at('volume')]);
    let most = 0;
    let longestGapMs = 0;
    let lastMs = performance.now();
    const timer = setInterval(() => {
      longestGapMs = Math.max(longestGapMs, performance.now() - lastMs);
      lastMs = performance.now();
      most = Math.max(most, readdirSync('/proc/self/fd').length);
    }, 10);
    const startFds = readdirSync('/proc/self/fd').length;
    const startBytes = process.memoryUsage().rss;
    try {
      expect(await removeTree(scratch.directory, 'volume', options)).toEqual({ files: 110_001 });
    } finally {
      clearInterval(timer);
    }
    expect(most - startFds).toBeLessThan(64);
    expect(longestGapMs).toBeLessThan(1000);
    expect(process.memoryUsage().rss - startBytes).toBeLessThan(150 * 1024 * 1024);
  }, 180_000);
});

describe.skipIf(whyNotBtrfs !== '')(`removing a tree on btrfs${whyNotBtrfs}`, () => {
  it('removes subvolumes that a pod made inside its volume', async () => {
    await using pool = ScratchPool.make('btrfs');
    mkdirSync(pool.at('volume'));
    sh(
      'cd "$1/volume"; btrfs -q subvolume create a; btrfs -q subvolume create a/b; echo x > a/b/file',
      pool.path,
    );
    await removeTree(await pool.directory(), 'volume', options);
    expect(existsSync(pool.at('volume'))).toBe(false);
  });
});
