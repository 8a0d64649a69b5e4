import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  readIfPresent,
  removeTemporaries,
  temporaryPrefix,
  writeDurably,
} from '../../../src/host/durable-file.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';

describe('a durable write', () => {
  it.each([true, false])('replaces the content and leaves nothing beside it (sync: %s)', async (sync) => {
    await using scratch = await ScratchDirectory.make();
    await writeDurably(scratch.directory, 'record', 'old', { sync });
    await writeDurably(scratch.directory, 'record', 'new', { sync, mode: 0o644 });
    expect(await readIfPresent(scratch.directory, 'record')).toBe('new');
    expect(statSync(scratch.at('record')).mode & 0o777).toBe(0o644);
    expect(readdirSync(scratch.path)).toEqual(['record']);
  });

  it('never shows a reader a part of the content while writers compete', async () => {
    await using scratch = await ScratchDirectory.make();
    const contents = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(50_000));
    const write = (content: string) => writeDurably(scratch.directory, 'record', content, { sync: false });
    await write(contents[0] ?? '');
    const writes = Promise.all(Array.from({ length: 40 }, (_, index) => write(contents[index % 4] ?? '')));
    for (let reads = 0; reads < 200; reads += 1) {
      expect(contents).toContain(await readIfPresent(scratch.directory, 'record'));
    }
    await writes;
    expect(readdirSync(scratch.path)).toEqual(['record']);
  });

  it('does not write through a link that has the name, but replaces it', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at('outside'), 'untouched');
    symlinkSync('outside', scratch.at('record'));
    await expect(readIfPresent(scratch.directory, 'record')).rejects.toMatchObject({ code: 'ELOOP' });
    await writeDurably(scratch.directory, 'record', 'new');
    expect(readFileSync(scratch.at('outside'), 'utf8')).toBe('untouched');
    expect(await readIfPresent(scratch.directory, 'record')).toBe('new');
  });

  it('leaves no temporary file when the rename is impossible', async () => {
    await using scratch = await ScratchDirectory.make();
    await (await scratch.directory.ensureChild('record', 0o700)).close();
    await expect(writeDurably(scratch.directory, 'record', 'x')).rejects.toMatchObject({ code: 'EISDIR' });
    expect(readdirSync(scratch.path)).toEqual(['record']);
  });
});

describe('reading a file that may be absent', () => {
  it('answers undefined where there is none and does not wait on a FIFO', async () => {
    await using scratch = await ScratchDirectory.make();
    expect(await readIfPresent(scratch.directory, 'none')).toBeUndefined();
    execFileSync('mkfifo', [scratch.at('fifo')]);
    expect(await readIfPresent(scratch.directory, 'fifo')).toBe('');
  });
});

describe('recovery after a crash in the middle of a write', () => {
  it('removes the temporaries and nothing else', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at(`${temporaryPrefix}0123`), 'half');
    writeFileSync(scratch.at('record'), 'whole');
    expect(await removeTemporaries(scratch.directory)).toBe(1);
    expect(readdirSync(scratch.path)).toEqual(['record']);
  });
});
