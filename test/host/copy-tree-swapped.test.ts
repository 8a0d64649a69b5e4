import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { copyTree } from '../../src/host/copy-tree.ts';
import { fingerprint } from '../support/scratch-directory.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const { signal } = new AbortController();
const secret = 'what no pod may read';

/** What a pod does at the worst moment: between two steps of the copy. */
const meanwhile = vi.hoisted(() => ({
  opened: (_path: string): void => {},
  read: (_path: string): void => {},
}));
vi.mock('node:fs/promises', async (load) => {
  const original = await load<typeof import('node:fs/promises')>();
  return {
    ...original,
    open: async (path: string | Buffer, ...rest: [number]) => {
      const handle = await original.open(path, ...rest);
      meanwhile.opened(path.toString());
      return handle;
    },
    readdir: async (path: string, options: object) => {
      const found = await original.readdir(path, options as { withFileTypes: true });
      meanwhile.read(path);
      return found;
    },
  };
});

const whyNot = whyNoScratchPool();
describe.skipIf(whyNot !== '')(`copying a tree that a pod rearranges meanwhile${whyNot}`, () => {
  it('copies what a file was when it was looked at, after a link took its name', async () => {
    await using pool = lab();
    writeFileSync(pool.at('volume/data/file'), 'own');
    meanwhile.opened = atFirst('/file', () => {
      renameSync(pool.at('volume/data/file'), pool.at('volume/data/aside'));
      symlinkSync(pool.at('outside/file'), pool.at('volume/data/file'));
    });
    await copy(pool);
    expect(readFileSync(pool.at('copy/data/file'), 'utf8')).toBe('own');
  });

  it('takes a link that took a listed file’s or directory’s name for what it is, and goes nowhere', async () => {
    await using pool = lab();
    writeFileSync(pool.at('volume/data/file'), 'own');
    mkdirSync(pool.at('volume/data/folder'));
    meanwhile.read = () => {
      meanwhile.read = () => {};
      for (const name of ['file', 'folder']) {
        renameSync(pool.at('volume/data', name), pool.at('volume', name));
        symlinkSync(pool.at('outside'), pool.at('volume/data', name));
      }
    };
    await copy(pool);
    for (const name of ['file', 'folder']) {
      expect(execFileSync('readlink', [pool.at('copy/data', name)], { encoding: 'utf8' })).toBe(
        `${pool.at('outside')}\n`,
      );
    }
  });

  it('goes on in a directory that was moved away while it is copied, and not in the link in its place', async () => {
    await using pool = lab();
    mkdirSync(pool.at('volume/data/folder'));
    writeFileSync(pool.at('volume/data/folder/file'), 'own');
    meanwhile.opened = atFirst('/folder', () => {
      renameSync(pool.at('volume/data/folder'), pool.at('volume/data/aside'));
      symlinkSync(pool.at('outside'), pool.at('volume/data/folder'));
    });
    await copy(pool);
    expect(readFileSync(pool.at('copy/data/folder/file'), 'utf8')).toBe('own');
    expect(readdirSync(pool.at('copy/data/folder'))).toEqual(['file']);
  });

  it('is told to try again where a deep directory is moved out of the tree under its hands', async () => {
    await using pool = lab();
    const deep = Array.from({ length: 40 }, (_, index) => `d${index}`).join('/');
    mkdirSync(pool.at('volume/data', deep), { recursive: true });
    meanwhile.opened = atFirst('/d39', () => {
      renameSync(pool.at('volume/data/d0/d1'), pool.at('outside/d1'));
    });
    await expect(copy(pool)).rejects.toMatchObject({ reason: 'busy' });
    renameSync(pool.at('outside/d1'), pool.at('volume/data/d0/d1'));
  });

  it('passes over what vanishes after it was listed', async () => {
    await using pool = lab();
    writeFileSync(pool.at('volume/data/gone'), '');
    mkdirSync(pool.at('volume/data/gone-too'));
    writeFileSync(pool.at('volume/data/kept'), '');
    meanwhile.read = () => {
      meanwhile.read = () => {};
      execFileSync('rm', ['-r', pool.at('volume/data/gone'), pool.at('volume/data/gone-too')]);
    };
    await copy(pool);
    expect(readdirSync(pool.at('copy/data'))).toEqual(['kept']);
  });

  it('never reads or changes what links lead to that are swapped in at random', async () => {
    await using pool = lab();
    let copies = 0;
    for (let round = 0; round < 5; round += 1) {
      for (let index = 0; index < 40; index += 1) {
        const base = pool.at(`volume/data/s${index}`);
        mkdirSync(`${base}/d0/d1`, { recursive: true });
        for (const name of ['file', 'd0/file', 'd0/d1/file']) writeFileSync(`${base}/${name}`, 'own');
      }
      const swapper = startSwapper(pool.at('volume/data'), pool.at('outside'));
      await once(swapper, 'spawn');
      await copy(pool).then(() => (copies += 1), expectRestless);
      swapper.kill('SIGKILL');
      await once(swapper, 'exit');
      expect(grep(secret, pool.at('copy'))).toBe('');
      execFileSync('sh', ['-c', 'rm -rf "$1"/volume/data/* "$1"/copy/*', 'sh', pool.path]);
    }
    expect(copies).toBeGreaterThan(0);
  }, 60_000);
});

/** A pool with a volume, a place for its copy and something outside, which is as it was when the test ends. */
function lab(): ScratchPool {
  meanwhile.opened = meanwhile.read = () => {};
  const pool = ScratchPool.make('plain');
  for (const folder of ['volume/data', 'copy', 'outside/d0/d1'])
    mkdirSync(pool.at(folder), { recursive: true });
  for (const name of ['file', 'd0/file', 'd0/d1/file']) writeFileSync(pool.at('outside', name), secret);
  const before = fingerprint(pool.at('outside'));
  const remove = pool[Symbol.asyncDispose].bind(pool);
  pool[Symbol.asyncDispose] = async () => {
    try {
      expect(fingerprint(pool.at('outside'))).toBe(before);
      expect(grep(secret, pool.at('copy'))).toBe('');
      expect(existsSync(pool.at('volume'))).toBe(true);
    } finally {
      await remove();
    }
  };
  return pool;
}

async function copy(pool: ScratchPool): Promise<void> {
  const root = await pool.directory();
  await using source = await root.openChild('volume');
  await using target = await root.openChild('copy');
  await copyTree(source, 'data', target, { signal });
}

function atFirst(end: string, act: () => void): (path: string) => void {
  let isDone = false;
  return (path) => {
    if (isDone || !path.endsWith(end) || !path.startsWith('/proc/self/fd/')) return;
    isDone = true;
    act();
  };
}

function expectRestless(error: unknown): void {
  expect(error).toMatchObject({ reason: expect.stringMatching(/in-use|busy/) as string });
}

function grep(text: string, path: string): string {
  try {
    return execFileSync('grep', ['-r', '-l', text, path], { encoding: 'utf8' });
  } catch {
    return '';
  }
}

/** Swaps directories and files of a volume for links to outside and back, for at most ten seconds. */
function startSwapper(volume: string, outside: string): ChildProcess {
  const script = `
import os, sys, time
volume, outside = sys.argv[1:3]
end = time.time() + 10
parts = ('/d0/d1/file', '/d0/d1', '/d0/file', '/d0', '/file', '')
while time.time() < end:
  for swaps in (parts, parts[::-1]):
    for i in range(40):
      for part in swaps:
        path = volume + '/s%d' % i + part
        try:
          if swaps is parts:
            os.rename(path, path + '.aside')
            os.symlink(outside + part, path)
          else:
            os.unlink(path)
            os.rename(path + '.aside', path)
        except OSError:
          pass
`;
  return spawn('python3', ['-c', script, volume, outside], { stdio: 'ignore' });
}
