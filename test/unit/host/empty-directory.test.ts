import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { emptyDirectory } from '../../../src/host/remove-tree.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';

const { signal } = new AbortController();
const options = { signal, pace: unlimitedPace };

describe('emptying a directory', () => {
  it('leaves it with what is to be kept, and nothing else', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('kept/deep'), { recursive: true });
    mkdirSync(scratch.at('gone/kept'), { recursive: true });
    writeFileSync(scratch.at('gone/kept/file'), '');
    writeFileSync(scratch.at('file'), '');
    expect(await emptyDirectory(scratch.directory, { ...options, keep: ['kept'] })).toEqual({ files: 4 });
    expect(readdirSync(scratch.path, { recursive: true, encoding: 'utf8' }).toSorted()).toEqual([
      'kept',
      'kept/deep',
    ]);
    await emptyDirectory(scratch.directory, options);
    expect(readdirSync(scratch.path)).toEqual([]);
  });

  it('leaves none of more directories than one look takes in', async () => {
    await using scratch = await ScratchDirectory.make();
    for (let number = 0; number < 10; number += 1) mkdirSync(scratch.at(`d${number}`));
    await emptyDirectory(scratch.directory, { ...options, maximumListed: 3 });
    expect(readdirSync(scratch.path)).toEqual([]);
  });
});
