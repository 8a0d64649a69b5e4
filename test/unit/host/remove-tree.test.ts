import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { removeTree } from '../../../src/host/remove-tree.ts';
import { ScratchDirectory, fingerprint } from '../../support/scratch-directory.ts';

const { signal } = new AbortController();
const options = { signal, pace: unlimitedPace };

describe('removing a tree', () => {
  it('is done where there is nothing', async () => {
    await using scratch = await ScratchDirectory.make();
    expect(await removeTree(scratch.directory, 'none', options)).toEqual({ files: 0 });
  });

  it('removes a file, and a link but not what it leads to', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('outside'));
    writeFileSync(scratch.at('outside/file'), 'kept');
    writeFileSync(scratch.at('image'), 'gone');
    symlinkSync('outside', scratch.at('link'));
    await removeTree(scratch.directory, 'image', options);
    await removeTree(scratch.directory, 'link', options);
    expect(readdirSync(scratch.path)).toEqual(['outside']);
    expect(readFileSync(scratch.at('outside/file'), 'utf8')).toBe('kept');
  });

  it('removes links, loops, FIFOs, sockets and hard links and changes nothing outside', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('outside/deep'), { recursive: true });
    writeFileSync(scratch.at('outside/deep/file'), 'kept');
    mkdirSync(scratch.at('volume/a/b'), { recursive: true });
    symlinkSync(scratch.at('outside'), scratch.at('volume/to-outside'));
    symlinkSync('/', scratch.at('volume/a/to-root'));
    symlinkSync('..', scratch.at('volume/a/b/up'));
    symlinkSync('self', scratch.at('volume/self'));
    linkSync(scratch.at('outside/deep/file'), scratch.at('volume/a/hard'));
    execFileSync('mkfifo', [scratch.at('volume/fifo')]);
    const server = createServer().listen(scratch.at('volume/socket'));
    await once(server, 'listening');
    const before = readFileSync(scratch.at('outside/deep/file'));
    try {
      await removeTree(scratch.directory, 'volume', options);
    } finally {
      server.close();
    }
    expect(readdirSync(scratch.path)).toEqual(['outside']);
    expect(readFileSync(scratch.at('outside/deep/file'))).toEqual(before);
    expect(readdirSync(scratch.at('outside/deep'))).toEqual(['file']);
  });

  it('removes names of any bytes', async () => {
    await using scratch = await ScratchDirectory.make();
    const names = [
      Buffer.from('new\nline'),
      Buffer.from([0xff, 0xfe, 0x80]),
      Buffer.from([0xc3]),
      Buffer.alloc(255, 0xe9),
      Buffer.from(' '),
      Buffer.from('-rf'),
      Buffer.from('...'),
      Buffer.from('*'),
    ];
    mkdirSync(scratch.at('volume'));
    const at = (...parts: Buffer[]) =>
      Buffer.concat([
        Buffer.from(`${scratch.at('volume')}/`),
        ...parts.flatMap((part) => [part, Buffer.from('/')]),
      ]).subarray(0, -1);
    for (const name of names) {
      mkdirSync(at(name));
      for (const inner of names) writeFileSync(at(name, inner), 'x');
    }
    await removeTree(scratch.directory, 'volume', options);
    expect(readdirSync(scratch.path)).toEqual([]);
  });

  it('removes a tree 2,000 levels deep with few descriptors', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume'));
    const make =
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(2000):\n os.mkdir("d"); open("f","w").close(); os.chdir("d")';
    execFileSync('python3', ['-c', make, scratch.at('volume')]);
    const before = readdirSync('/proc/self/fd').length;
    let most = 0;
    const timer = setInterval(() => (most = Math.max(most, readdirSync('/proc/self/fd').length)), 5);
    try {
      const { files } = await removeTree(scratch.directory, 'volume', options);
      expect(files).toBe(4001);
    } finally {
      clearInterval(timer);
    }
    expect(readdirSync(scratch.path)).toEqual([]);
    expect(most - before).toBeLessThan(64);
  }, 60_000);

  it('removes wide directories without keeping the event loop waiting', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume'));
    const make =
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(4000): open(str(i),"w").close()\nfor i in range(1000): os.mkdir("d%d"%i)';
    execFileSync('python3', ['-c', make, scratch.at('volume')]);
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 1);
    const startMs = performance.now();
    try {
      const { files } = await removeTree(scratch.directory, 'volume', options);
      expect(files).toBe(5001);
    } finally {
      clearInterval(timer);
    }
    const tookMs = performance.now() - startMs;
    expect(readdirSync(scratch.path)).toEqual([]);
    expect(turns).toBeGreaterThan(tookMs / 100);
  }, 60_000);

  it('keeps the names that it is told to keep, at the top only', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('entry/data'), { recursive: true });
    for (const path of ['entry/volume.json', 'entry/image', 'entry/data/volume.json'])
      writeFileSync(scratch.at(path), 'x');
    await removeTree(scratch.directory, 'entry', { ...options, keep: ['volume.json'] });
    expect(readdirSync(scratch.at('entry'))).toEqual(['volume.json']);
  });

  it('stops when the signal aborts, and a repeat ends it', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume'));
    for (let index = 0; index < 500; index += 1) writeFileSync(scratch.at('volume', String(index)), '');
    const abort = new AbortController();
    let calls = 0;
    const pace = {
      ...unlimitedPace,
      files: async () => {
        calls += 1;
        if (calls === 3) abort.abort(new Error('enough'));
      },
    };
    await expect(removeTree(scratch.directory, 'volume', { signal: abort.signal, pace })).rejects.toThrow(
      'enough',
    );
    expect(readdirSync(scratch.at('volume')).length).toBeGreaterThan(0);
    await removeTree(scratch.directory, 'volume', options);
    expect(existsSync(scratch.at('volume'))).toBe(false);
  });

  it('asks its pace for every entry', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume/a'), { recursive: true });
    for (let index = 0; index < 200; index += 1) writeFileSync(scratch.at('volume/a', String(index)), '');
    let asked = 0;
    const pace = { ...unlimitedPace, files: async (count: number) => void (asked += count) };
    await removeTree(scratch.directory, 'volume', { signal, pace });
    expect(asked).toBe(202);
  });

  it.each(['../x', 'a/b', '..', ''])('refuses the name %j', async (name) => {
    await using scratch = await ScratchDirectory.make();
    await expect(removeTree(scratch.directory, name, options)).rejects.toMatchObject({
      reason: 'invalid-argument',
    });
  });

  const mayDropRoot = process.geteuid?.() === 0 ? it : it.skip;
  mayDropRoot(
    'gives directories without permission bits back their owner’s rights (root: to become nobody)',
    async () => {
      await using scratch = await ScratchDirectory.make();
      chmodSync(scratch.path, 0o777);
      const effectiveUid = process.geteuid?.() ?? 0;
      // only the effective id: libuv's threads follow, since Node sets it for the whole process
      process.seteuid?.(65534);
      try {
        const volume = mkdtempSync(scratch.at('volume-'));
        mkdirSync(join(volume, 'a/b'), { recursive: true });
        writeFileSync(join(volume, 'a/b/file'), 'x');
        for (const path of ['a/b', 'a', '']) chmodSync(join(volume, path), 0);
        await removeTree(scratch.directory, volume.slice(scratch.path.length + 1), options);
        expect(existsSync(volume)).toBe(false);
      } finally {
        process.seteuid?.(effectiveUid);
      }
    },
  );
});

describe('removing while somebody swaps directories for links', () => {
  it('unlinks a link that took a directory’s place after it was listed', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('outside'));
    writeFileSync(scratch.at('outside/file'), 'kept');
    mkdirSync(scratch.at('volume/directory'), { recursive: true });
    writeFileSync(scratch.at('volume/first'), '');
    let swapped = false;
    // files are dealt with before directories are entered
    const files = async () => {
      if (swapped) return;
      swapped = true;
      rmdirSync(scratch.at('volume/directory'));
      symlinkSync('../outside', scratch.at('volume/directory'));
    };
    await removeTree(scratch.directory, 'volume', { signal, pace: { ...unlimitedPace, files } });
    expect(swapped).toBe(true);
    expect(readdirSync(scratch.path)).toEqual(['outside']);
    expect(readdirSync(scratch.at('outside'))).toEqual(['file']);
  });

  it('does not climb out through a directory that was moved elsewhere meanwhile', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('outside'));
    writeFileSync(scratch.at('outside/file'), 'kept');
    const deep = Array.from({ length: 40 }, (_, level) => `d${level}`);
    mkdirSync(scratch.at('volume', ...deep), { recursive: true });
    writeFileSync(scratch.at('volume', ...deep, 'last'), '');
    let moved = false;
    // 40 levels down the topmost directories are no longer held open: the way back leads through `..`
    const files = async () => {
      if (!moved) renameSync(scratch.at('volume', ...deep.slice(0, 3)), scratch.at('outside/d2'));
      moved = true;
    };
    await expect(
      removeTree(scratch.directory, 'volume', { signal, pace: { ...unlimitedPace, files } }),
    ).rejects.toMatchObject({ reason: 'busy' });
    expect(readFileSync(scratch.at('outside/file'), 'utf8')).toBe('kept');
    await removeTree(scratch.directory, 'volume', options);
    expect(readdirSync(scratch.path)).toEqual(['outside']);
  });

  it('never reaches what the links lead to', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('outside/d0/d1'), { recursive: true });
    for (const path of ['outside/file', 'outside/d0/file', 'outside/d0/d1/file'])
      writeFileSync(scratch.at(path), path);
    const before = fingerprint(scratch.at('outside'));
    for (let round = 0; round < 5; round += 1) {
      const volume = scratch.at('volume');
      for (let index = 0; index < 40; index += 1) {
        mkdirSync(join(volume, `s${index}/d0/d1`), { recursive: true });
        for (const path of ['file', 'd0/file', 'd0/d1/file'])
          writeFileSync(join(volume, `s${index}`, path), 'x');
      }
      const swapper = execSwapper(volume, scratch.at('outside'));
      await once(swapper, 'spawn');
      await removeTree(scratch.directory, 'volume', options).catch((error: unknown) => {
        // the swapper may win a place for long; what counts is what happens outside
        expect(error).toMatchObject({ reason: expect.stringMatching(/in-use|busy/) as string });
      });
      swapper.kill('SIGKILL');
      await once(swapper, 'exit');
      await removeTree(scratch.directory, 'volume', options);
      expect(existsSync(volume)).toBe(false);
    }
    expect(fingerprint(scratch.at('outside'))).toBe(before);
  }, 60_000);
});

/** Swaps directories of a volume for links to outside and back, for at most ten seconds. */
function execSwapper(volume: string, outside: string): ChildProcess {
  const script = `
import os, sys, time
volume, outside = sys.argv[1:3]
end = time.time() + 10
while time.time() < end:
  for i in range(40):
    for part in ('', '/d0', '/d0/d1'):
      path = volume + '/s%d' % i + part
      try:
        os.rename(path, path + '.aside')
        os.symlink(outside + part, path)
        os.unlink(path)
        os.rename(path + '.aside', path)
      except OSError:
        pass
`;
  return spawn('python3', ['-c', script, volume, outside], { stdio: 'ignore' });
}
