import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { putBack } from '../../../src/volumes/adoption/put-back.ts';

let root: string;
let taken: Directory;
let place: Directory;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loam-put-back-'));
  for (const name of ['taken', 'place']) await mkdir(join(root, name));
  taken = await Directory.open(join(root, 'taken'));
  place = await Directory.open(join(root, 'place'));
});
afterEach(async () => {
  await taken.close();
  await place.close();
  await rm(root, { recursive: true });
});

const at = (...parts: string[]): string => join(root, ...parts);
const put = () => putBack(taken, 'data', place, 'orders');

interface Kind {
  readonly make: (path: string) => Promise<unknown>;
  readonly read: (path: string) => Promise<string>;
}

const kinds: Record<string, Kind> = {
  'a file': {
    make: (path) => writeFile(path, 'mine'),
    read: (path) => readFile(path, 'utf8'),
  },
  'a folder': {
    make: (path) => mkdir(path).then(() => writeFile(join(path, 'in'), 'mine')),
    read: (path) => readFile(join(path, 'in'), 'utf8'),
  },
  'a link': { make: (path) => symlink('mine', path), read: (path) => readlink(path) },
};

describe.each(Object.entries(kinds))('%s that was taken by mistake', (_kind, { make, read }) => {
  it('gets its old name back', async () => {
    await make(at('taken', 'data'));
    expect(await put()).toBe('orders');
    expect(await read(at('place', 'orders'))).toBe('mine');
    expect(await readdir(at('taken'))).toEqual([]);
  });

  it.each(Object.entries(kinds))('does not take the place of %s that lies there by now', async (_, there) => {
    await make(at('taken', 'data'));
    await there.make(at('place', 'orders'));
    const { ino } = await lstat(at('place', 'orders'));
    const name = await put();
    expect(name).toMatch(/^displaced-/);
    expect(await read(at('place', name))).toBe('mine');
    expect(await there.read(at('place', 'orders'))).toBe('mine');
    expect((await lstat(at('place', 'orders'))).ino).toBe(ino);
    expect(await readdir(at('taken'))).toEqual([]);
  });
});
