import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkTargetPath,
  ensureTargetDirectory,
  ensureTargetFile,
  removeTarget,
} from '../../../src/host/targets.ts';

let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'loam-target-')));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a target path', () => {
  it.each(['', 'relative/path', '/with\0nul', '/a/../b', '/..', '/', '//', '/./', `/${'x'.repeat(4096)}`])(
    'is refused by its text: %j',
    (path) => {
      expect(() => checkTargetPath(path)).toThrow(/target path .* (is|holds)/);
    },
  );

  it.each(['/a', '/a/..b', '/a/b../c', '/ü/ x'])('can be %j', (path) => {
    expect(() => checkTargetPath(path)).not.toThrow();
  });

  it('is made with its parents, closed to others, and can be asked for again', async () => {
    const path = join(folder, 'pods/uid/mount');
    expect(await ensureTargetDirectory(`${path}/`)).toBe(path);
    expect(await ensureTargetDirectory(path)).toBe(path);
    expect(statSync(path).mode & 0o007).toBe(0);
    const file = join(folder, 'devices/uid');
    expect(await ensureTargetFile(file)).toBe(file);
    expect(await ensureTargetFile(file)).toBe(file);
    expect(statSync(file).size).toBe(0);
  });

  it('has the links of its parents followed, since mountinfo shows no links', async () => {
    mkdirSync(join(folder, 'real'));
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    expect(await ensureTargetDirectory(join(folder, 'link/target'))).toBe(join(folder, 'real/target'));
  });

  it('is refused in a pool, also when a link leads there', async () => {
    const pool = join(folder, 'pool');
    mkdirSync(pool);
    symlinkSync(pool, join(folder, 'link'));
    const options = { outside: [pool] };
    for (const path of [pool, join(pool, 'x'), join(folder, 'link/x')]) {
      await expect(ensureTargetDirectory(path, options)).rejects.toMatchObject({ reason: 'bad-target' });
      await expect(ensureTargetFile(path, options)).rejects.toMatchObject({ reason: 'bad-target' });
    }
    expect(readdirSync(pool)).toEqual([]);
    await ensureTargetDirectory(join(folder, 'pool-beside'), options);
  });

  it('is refused where something of another kind is', async () => {
    writeFileSync(join(folder, 'file'), 'x');
    symlinkSync('/nowhere', join(folder, 'link'));
    mkdirSync(join(folder, 'full/inside'), { recursive: true });
    for (const name of ['file', 'link', 'full', 'file/below']) {
      const directory = ensureTargetDirectory(join(folder, name));
      await expect(directory).rejects.toMatchObject({ reason: 'bad-target' });
    }
    for (const name of ['file', 'link', 'full']) {
      await expect(ensureTargetFile(join(folder, name))).rejects.toMatchObject({ reason: 'bad-target' });
    }
  });

  it('is removed when it is empty, and only then', async () => {
    mkdirSync(join(folder, 'empty'));
    writeFileSync(join(folder, 'device'), '');
    for (const name of ['empty', 'device', 'absent', 'absent/too']) await removeTarget(join(folder, name));
    expect(readdirSync(folder)).toEqual([]);
    mkdirSync(join(folder, 'full/inside'), { recursive: true });
    writeFileSync(join(folder, 'file'), 'x');
    symlinkSync('/', join(folder, 'link'));
    for (const name of ['full', 'file', 'link']) {
      await expect(removeTarget(join(folder, name))).rejects.toMatchObject({ reason: 'bad-target' });
    }
    expect(readdirSync(folder).sort()).toEqual(['file', 'full', 'link']);
  });
});
