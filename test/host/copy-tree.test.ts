import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { copyTree } from '../../src/host/copy-tree.ts';
import { findExtents } from '../../src/host/extents.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { treeListing } from '../support/tree-listing.ts';
import { open } from 'node:fs/promises';

const { signal } = new AbortController();
const sh = (script: string, ...args: string[]) =>
  execFileSync('sh', ['-ec', script, 'sh', ...args], { encoding: 'utf8' });

/** One of everything that a pod can leave in its volume, as root. */
const everything = `
cd "$1"
mkdir -p a/b/c empty; chmod 2775 a; chmod 0500 a/b; chown 1000:2000 a
printf text > a/file; chmod 4751 a/file; chown 1001:2001 a/file
printf twin > a/one; ln a/one a/b/two; ln a/one three
ln -s ../../nowhere a/b/dangling; ln -s /etc/passwd absolute; chown -h 1002:2002 absolute
mkfifo -m 0640 a/fifo
printf x > a/attributed; setfattr -n user.note -v "a value" a/attributed; setfattr -n user.note -v "of a folder" a/b/c
setfattr -n security.capability -v 0sAQAAAgAEAAAAAAAAAAAAAAAAAAA= a/attributed
truncate -s 1M hole; printf end >> hole
: > nothing
printf n > "$(printf 'new\\nline')"; printf b > "$(printf '\\377\\376')"; printf m > -- ; printf m > -rf
touch -d "2001-02-03 04:05:06.123456" a/file a/b absolute -h a
`;

const kinds: readonly PoolKind[] = ['ext4', 'xfs', 'btrfs'];
for (const kind of kinds) {
  const whyNot = whyNoScratchPool(kind);
  describe.skipIf(whyNot !== '')(`copying a tree on ${kind}${whyNot}`, () => {
    it('keeps content, holes, owners, modes, times, links, FIFOs, extended attributes and any name', async () => {
      await using pool = ScratchPool.make(kind);
      mkdirSync(pool.at('volume/data'), { recursive: true });
      mkdirSync(pool.at('copy'));
      sh(everything, pool.at('volume/data'));
      const before = treeListing(pool.at('volume/data'));
      const copied: bigint[] = [];
      const report = await copy(pool, (bytes) => copied.push(bytes));
      expect(treeListing(pool.at('copy/data'))).toBe(before);
      expect(treeListing(pool.at('volume/data'))).toBe(before);
      expect(report).toMatchObject({ files: 14, leftOut: 0 });
      expect(copied.at(-1)).toBe(report.copiedBytes);
      const [one, three] = ['a/one', 'three'].map((name) => statSync(pool.at('copy/data', name)));
      expect(one?.ino).toBe(three?.ino);
      expect(one?.nlink).toBe(4);
      execFileSync('rm', ['-r', pool.at('copy/workbench')]);
      expect(statSync(pool.at('copy/data/three')).nlink).toBe(3);
      expect(statSync(pool.at('copy/data/hole')).blocks).toBeLessThan(64);
    });

    it('keeps ACLs, default ones of directories too, and gives none that its source lacks', async () => {
      await using pool = ScratchPool.make(kind);
      mkdirSync(pool.at('volume/data/shared/inner'), { recursive: true });
      mkdirSync(pool.at('copy'));
      // a default ACL for user 1000, as the kernel keeps it, given after `inner` was made
      const acl =
        '0x0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff';
      sh(
        'cd "$1/shared"; setfattr -n system.posix_acl_default -v "$2" .; setfattr -n system.posix_acl_access -v "$2" .; : > inherited',
        pool.at('volume/data'),
        acl,
      );
      await copy(pool);
      expect(treeListing(pool.at('copy/data'))).toBe(treeListing(pool.at('volume/data')));
      expect(treeListing(pool.at('copy/data'))).toContain('system.posix_acl_default');
    });

    it('leaves out sockets, devices and what is mounted inside, and says how many', async () => {
      await using pool = ScratchPool.make(kind);
      mkdirSync(pool.at('volume/data/mounted'), { recursive: true });
      mkdirSync(pool.at('outside/deep'), { recursive: true });
      mkdirSync(pool.at('copy'));
      sh(
        `cd "$1"; echo secret > outside/deep/file; cd volume/data; mknod null c 1 3; mknod disk b 7 0; : > over
         mount --bind "$1/outside" mounted; mount --bind "$1/outside/deep/file" over
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'; : > file`,
        pool.path,
      );
      try {
        expect(await copy(pool)).toMatchObject({ files: 1, leftOut: 5 });
      } finally {
        sh('umount "$1/mounted" "$1/over"', pool.at('volume/data'));
      }
      expect(readdirSync(pool.at('copy/data')).toSorted()).toEqual(['file', 'mounted']);
      expect(readdirSync(pool.at('copy/data/mounted'))).toEqual([]);
    });

    it(`${kind === 'ext4' ? 'copies' : 'shares'} the blocks of files, and a write to the one is not seen in the other`, async () => {
      await using pool = ScratchPool.make(kind);
      mkdirSync(pool.at('volume/data'), { recursive: true });
      mkdirSync(pool.at('copy'));
      writeFileSync(pool.at('volume/data/file'), Buffer.alloc(1 << 20, 'a'));
      execFileSync('sync', ['-f', pool.path]);
      await copy(pool);
      execFileSync('sync', ['-f', pool.path]);
      const file = await open(pool.at('copy/data/file'));
      const extents = await findExtents([file.fd], signal);
      await file.close();
      expect(extents?.[0]?.every((extent) => extent.isShared)).toBe(kind !== 'ext4');
      writeFileSync(pool.at('volume/data/file'), 'changed');
      expect(readFileSync(pool.at('copy/data/file'), 'utf8')).toBe('a'.repeat(1 << 20));
    });
  });
}

const whyNot = whyNoScratchPool('ext4');
describe.skipIf(whyNot !== '')(`copying a large tree${whyNot}`, () => {
  it('copies 10,000 files in 1,000 directories in seconds, with few descriptors', async () => {
    await using pool = ScratchPool.make('plain');
    mkdirSync(pool.at('volume/data'), { recursive: true });
    mkdirSync(pool.at('copy'));
    sh(
      `cd "$1"; python3 -c '
import os
for d in range(1000):
  os.mkdir(str(d))
  for f in range(10):
    with open("%d/%d" % (d, f), "w") as out: out.write("text")
'`,
      pool.at('volume/data'),
    );
    const startMs = performance.now();
    const { most, result } = await descriptorsDuring(() => copy(pool));
    const tookMs = performance.now() - startMs;
    expect(result.files).toBe(10_000);
    expect(tookMs).toBeLessThan(20_000);
    expect(most).toBeLessThan(600);
    expect(treeListing(pool.at('copy/data')) === treeListing(pool.at('volume/data'))).toBe(true);
  }, 120_000);

  it('copies a tree 3,000 levels deep, below which no path reaches', async () => {
    await using pool = ScratchPool.make('plain');
    mkdirSync(pool.at('volume/data'), { recursive: true });
    mkdirSync(pool.at('copy'));
    const walkDown = `
import os, sys
os.chdir(sys.argv[1])
for i in range(3000):
  if sys.argv[2] == "make":
    os.mkdir("d"); open("f", "w").close(); os.utime("f", (i, i))
  else:
    assert os.stat("f").st_mtime == i
  os.chdir("d")
`;
    const walk = (path: string, what: string) => execFileSync('python3', ['-c', walkDown, path, what]);
    walk(pool.at('volume/data'), 'make');
    try {
      const { most, result } = await descriptorsDuring(() => copy(pool));
      expect(result.files).toBe(3000);
      expect(most).toBeLessThan(600);
      walk(pool.at('copy/data'), 'check');
    } finally {
      execFileSync('rm', ['-rf', pool.at('volume'), pool.at('copy')]);
    }
  }, 120_000);

  it('is out of space on a full disk, and stops when the signal aborts', async () => {
    await using pool = ScratchPool.make('ext4', 32);
    mkdirSync(pool.at('volume/data'), { recursive: true });
    mkdirSync(pool.at('copy'));
    for (let index = 0; index < 4; index += 1) {
      writeFileSync(pool.at(`volume/data/file-${index}`), Buffer.alloc(5 << 20, 'a'));
    }
    await expect(copy(pool)).rejects.toMatchObject({
      reason: 'out-of-space',
      message: expect.stringContaining('free space') as string,
    });
    execFileSync('rm', ['-rf', pool.at('copy/data'), pool.at('copy/workbench')]);
    const abort = new AbortController();
    const stopped = copy(pool, () => abort.abort(), abort.signal);
    abort.abort();
    await expect(stopped).rejects.toMatchObject({ reason: 'cancelled' });
  });

  it('says that there is nothing to copy where the directory is gone or something else', async () => {
    await using pool = ScratchPool.make('plain');
    mkdirSync(pool.at('volume'));
    mkdirSync(pool.at('copy'));
    await expect(copy(pool)).rejects.toMatchObject({ reason: 'data-loss' });
    execFileSync('ln', ['-s', '/etc', pool.at('volume/data')]);
    await expect(copy(pool)).rejects.toMatchObject({ reason: 'data-loss' });
    expect(existsSync(pool.at('copy/data'))).toBe(false);
    expect(lstatSync(pool.at('volume/data')).isSymbolicLink()).toBe(true);
  });
});

async function copy(pool: ScratchPool, onProgress: (bytes: bigint) => void = () => {}, until = signal) {
  const root = await pool.directory();
  await using source = await root.openChild('volume');
  await using target = await root.openChild('copy');
  return await copyTree(source, 'data', target, { signal: until, onProgress });
}

async function descriptorsDuring<T>(act: () => Promise<T>): Promise<{ most: number; result: T }> {
  let most = 0;
  const timer = setInterval(() => (most = Math.max(most, readdirSync('/proc/self/fd').length)), 10);
  try {
    return { result: await act(), most };
  } finally {
    clearInterval(timer);
  }
}
