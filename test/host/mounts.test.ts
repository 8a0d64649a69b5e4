import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountAt, readMounts } from '../../src/host/mountinfo.ts';
import { ensureBindMount, ensureUnmounted } from '../../src/host/mounts.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool();
const signal = AbortSignal.timeout(60_000);

describe.skipIf(why !== '')(`bind mounts${why}`, () => {
  let pool: ScratchPool;
  let source: string;
  let target: string;
  beforeEach(() => {
    pool = ScratchPool.make('plain');
    source = join(pool.basePath, 'source');
    target = join(pool.basePath, 'target');
    for (const path of [source, target]) mkdirSync(path);
    writeFileSync(join(source, 'file'), '');
  });
  afterEach(async () => {
    try {
      expect(pool.leftovers()).toEqual([]);
    } finally {
      await pool.remove();
    }
  });
  const bind = (change: Partial<Parameters<typeof ensureBindMount>[0]> = {}): Promise<void> =>
    ensureBindMount({ source, target, readonly: false, flags: ['nodev'], signal, ...change });

  it.each([
    'with blank',
    'tab\there',
    'line\nend',
    'back\\slash',
    'octal\\040text',
    'ümläut',
    'comma,dev',
    '-o',
  ])('are made, recognised and taken away at a path %j', async (name) => {
    const odd = join(pool.basePath, name);
    mkdirSync(odd);
    await bind({ target: odd });
    await bind({ target: odd });
    expect((await readMounts()).filter((mount) => mount.mountPoint === odd)).toHaveLength(1);
    await ensureUnmounted(odd, signal);
    expect(mountAt(await readMounts(), odd)).toBeUndefined();
  });

  it('are not confused with a mount of another directory of the same file system', async () => {
    const neighbour = join(pool.basePath, 'source-2');
    mkdirSync(neighbour);
    execFileSync('mount', ['--bind', '-o', 'nodev', neighbour, target]);
    await expect(bind()).rejects.toMatchObject({ reason: 'published-differently' });
    expect(mountAt(await readMounts(), target)?.root.endsWith('source-2')).toBe(true);
    await ensureUnmounted(target, signal);
  });

  it('are told from a mount that lost its nodev flag', async () => {
    execFileSync('mount', ['--bind', source, target]);
    await expect(bind()).rejects.toThrow(/without nodev/);
    await ensureUnmounted(target, signal);
  });

  it('leave nothing when they fail in the middle', async () => {
    const file = join(pool.basePath, 'plain-file');
    writeFileSync(file, '');
    await expect(bind({ target: file })).rejects.toThrow(/mount failed/);
  });

  it('of a read-only source are read-only too, again and again', async () => {
    const first = join(pool.basePath, 'first');
    mkdirSync(first);
    await bind({ target: first, readonly: true });
    await bind({ source: first });
    await bind({ source: first });
    expect(mountAt(await readMounts(), target)?.options).toContain('ro');
    for (const path of [target, first]) await ensureUnmounted(path, signal);
  });

  it('are taken away as often as they are stacked, and being gone is no failure', async () => {
    for (let times = 0; times < 3; times += 1) execFileSync('mount', ['--bind', source, target]);
    await ensureUnmounted(target, signal);
    await ensureUnmounted(target, signal);
    await ensureUnmounted(join(pool.basePath, 'absent/too'), signal);
    expect(mountAt(await readMounts(), target)).toBeUndefined();
  });
});
