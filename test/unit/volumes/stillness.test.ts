import { link, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { newestChange } from '../../../src/host/newest-change.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { Stillness } from '../../../src/volumes/adoption/stillness.ts';
import { ManualClock } from '../../support/manual-clock.ts';

let root: string;
let folder: Directory;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loam-still-'));
  await mkdir(join(root, 'orders'));
  folder = await Directory.open(root);
});
afterEach(async () => {
  await folder.close();
  await rm(root, { recursive: true });
});

const at = (...parts: string[]): string => join(root, 'orders', ...parts);
const many = async (count: number): Promise<void> => {
  for (let index = 0; index < count; index += 1) await writeFile(at(`f-${index}`), '');
};
/** The file system's clock is a few milliseconds coarse. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

describe('when a tree last changed', () => {
  it.each([
    ['a file deep in it was written to', () => writeFile(at('a', 'b', 'file'), 'more')],
    ['a file deep in it was made', () => writeFile(at('a', 'b', 'new'), '')],
    ['one got its old times back, as cp -p gives them', () => utimes(at('a', 'b', 'file'), 1, 1)],
    ['a name was added', () => link(at('a', 'b', 'file'), at('a', 'other'))],
  ])('is seen where %s', async (_what, change) => {
    await mkdir(at('a', 'b'), { recursive: true });
    await writeFile(at('a', 'b', 'file'), 'x');
    const before = await newestChange(folder, 'orders', 1000);
    await pause();
    await change();
    const after = await newestChange(folder, 'orders', 1000);
    expect(after.changedAtMs).toBeGreaterThan(before.changedAtMs);
  });

  it('is not what links lead to, and no more is looked at than is asked', async () => {
    await many(20);
    await symlink('/', at('root'));
    expect(await newestChange(folder, 'orders', 1000)).toMatchObject({ entries: 21 });
    expect(await newestChange(folder, 'orders', 10)).toMatchObject({ entries: 10 });
  });

  it('is now where it went away', async () => {
    expect((await newestChange(folder, 'gone', 10)).changedAtMs).toBe(Number.POSITIVE_INFINITY);
    const nowMs = Date.now();
    const changedAtMs = await new Stillness(systemClock).changedAtMs(folder, 'gone');
    expect(changedAtMs).toBeGreaterThanOrEqual(nowMs);
  });

  it('is asked of a large tree once a minute, and is now in between', async () => {
    await many(10_001);
    const clock = new ManualClock(Date.now() + 60_000);
    const still = new Stillness(clock);
    const first = await still.changedAtMs(folder, 'orders');
    expect(first).toBeLessThan(clock.nowMs() - 30_000);
    await clock.advance(10_000);
    expect(await still.changedAtMs(folder, 'orders')).toBe(clock.nowMs());
    await clock.advance(50_000);
    expect(await still.changedAtMs(folder, 'orders')).toBe(first);
    still.keepOnly(new Set());
    expect(await still.changedAtMs(folder, 'orders')).toBe(first);
  });
});
