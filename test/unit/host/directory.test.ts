import { existsSync, mkdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Directory, checkedComponent } from '../../../src/host/directory.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';

describe('a name inside a directory', () => {
  it.each(['', '.', '..', 'a/b', '/a', 'a/', 'a\0b', 'x'.repeat(256), 'é'.repeat(128)])(
    'is not %j',
    (name) => {
      expect(() => checkedComponent(name)).toThrow(/is not one name inside a directory/);
    },
  );

  it.each(['a', '...', '.hidden', '-rf', 'a\nb', 'x'.repeat(255)])('can be %j', (name) => {
    expect(checkedComponent(name)).toBe(name);
  });
});

describe('a directory held open', () => {
  it('stays the same one when its parent is renamed and another takes the old path', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('pool/volumes'), { recursive: true });
    await using volumes = await Directory.open(scratch.at('pool/volumes'));
    renameSync(scratch.at('pool'), scratch.at('moved'));
    mkdirSync(scratch.at('pool/volumes'), { recursive: true });
    writeFileSync(volumes.entry('mark'), '');
    expect(existsSync(scratch.at('moved/volumes/mark'))).toBe(true);
    expect(existsSync(scratch.at('pool/volumes/mark'))).toBe(false);
  });

  it('is not opened through a link, nor are its children', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('real'));
    symlinkSync('real', scratch.at('link'));
    await expect(Directory.open(scratch.at('link'))).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(scratch.directory.openChild('link')).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(scratch.directory.ensureChild('link', 0o700)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('names the real path in errors of the system', async () => {
    await using scratch = await ScratchDirectory.make();
    await expect(scratch.directory.openChild('none')).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(scratch.at('none')) as string,
    });
  });

  it('makes a child with exactly the bits asked for, whatever the umask and whatever it had before', async () => {
    await using scratch = await ScratchDirectory.make();
    const umask = process.umask(0o077);
    try {
      await (await scratch.directory.ensureChild('child', 0o2775)).close();
      expect(statSync(scratch.at('child')).mode & 0o7777).toBe(0o2775);
      await (await scratch.directory.ensureChild('child', 0o700)).close();
      expect(statSync(scratch.at('child')).mode & 0o7777).toBe(0o700);
    } finally {
      process.umask(umask);
    }
  });

  it('moves an entry to another directory and says whether there is one', async () => {
    await using scratch = await ScratchDirectory.make();
    await using from = await scratch.directory.ensureChild('from', 0o700);
    await using to = await scratch.directory.ensureChild('to', 0o700);
    symlinkSync('nowhere', from.entry('dangling'));
    expect(await from.exists('dangling')).toBe(true);
    await from.rename('dangling', to, 'other');
    expect(await from.exists('dangling')).toBe(false);
    expect(await to.names()).toEqual(['other']);
    await expect(from.rename('dangling', to, 'other')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
