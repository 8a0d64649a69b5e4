import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { eraseTree, type EraseOptions } from '../../../src/host/erase-tree.ts';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { statFileSystem } from '../../../src/host/statfs.ts';
import { silentLog } from '../../../src/model/log.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';

const { signal } = new AbortController();
const options = (method: EraseOptions['method']): EraseOptions => ({
  method,
  signal,
  pace: unlimitedPace,
  log: silentLog,
});
const { isCopyOnWrite, type } = await statFileSystem(tmpdir());
const canOverwrite = !isCopyOnWrite && type !== 'tmpfs';
const why = canOverwrite ? '' : ` (skipped: ${tmpdir()} is on a file system that cannot overwrite in place)`;
const secret = 'very secret words ';

describe.skipIf(!canOverwrite)(`erasing a tree${why}`, () => {
  it.each(['zero', 'discard'] as const)('leaves zeros in files of every length (%s)', async (method) => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume/a'), { recursive: true });
    const lengths = [1, 4095, 4096, 4097, 1024 * 1024, 3 * 1024 * 1024 + 7];
    for (const length of lengths)
      writeFileSync(scratch.at('volume/a', String(length)), secret.repeat(length).slice(0, length));
    writeFileSync(scratch.at('volume/empty'), '');
    const report = await eraseTree(scratch.directory, 'volume', options(method));
    expect(report.files).toBe(lengths.length + 1);
    for (const length of lengths) {
      const content = readFileSync(scratch.at('volume/a', String(length)));
      expect(content.length).toBe(length);
      expect(content.every((byte) => byte === 0)).toBe(true);
    }
  });

  it('leaves random bytes where random was asked for', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at('image'), secret.repeat(200_000));
    const report = await eraseTree(scratch.directory, 'image', options('random'));
    expect(report).toEqual({ files: 1, erasedBytes: 3_600_000n, leftBytes: 0n, passedOver: 0 });
    const content = readFileSync(scratch.at('image'));
    expect(content.includes('secret')).toBe(false);
    expect(new Set(content).size).toBe(256);
  });

  it('does not give blocks to the holes of a sparse image', async () => {
    await using scratch = await ScratchDirectory.make();
    const fd = openSync(scratch.at('image'), 'w');
    ftruncateSync(fd, 10 * 1024 ** 3);
    for (const position of [0, 5 * 1024 ** 3 + 4096, 10 * 1024 ** 3 - 18]) writeSync(fd, secret, position);
    closeSync(fd);
    const before = statSync(scratch.at('image'));
    const report = await eraseTree(scratch.directory, 'image', options('zero'));
    const after = statSync(scratch.at('image'));
    expect(after.size).toBe(before.size);
    expect(after.blocks).toBeLessThanOrEqual(before.blocks);
    expect(report.erasedBytes).toBeLessThan(65_536n);
    const head = Buffer.alloc(secret.length);
    execFileSync('dd', [
      `if=${scratch.at('image')}`,
      `of=${scratch.at('head')}`,
      'bs=4096',
      'count=1',
      'status=none',
    ]);
    expect(readFileSync(scratch.at('head')).subarray(0, secret.length)).toEqual(head);
  });

  it('gives blocks back when it discards', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at('image'), secret.repeat(200_000));
    await eraseTree(scratch.directory, 'image', options('discard'));
    expect(statSync(scratch.at('image')).blocks).toBeLessThanOrEqual(8);
    expect(statSync(scratch.at('image')).size).toBe(3_600_000);
  });

  it('opens neither links nor FIFOs and counts them', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at('outside'), secret);
    mkdirSync(scratch.at('volume'));
    symlinkSync('../outside', scratch.at('volume/link'));
    symlinkSync('..', scratch.at('volume/up'));
    execFileSync('mkfifo', [scratch.at('volume/fifo')]);
    const report = await eraseTree(scratch.directory, 'volume', options('zero'));
    expect(report).toEqual({ files: 0, erasedBytes: 0n, leftBytes: 0n, passedOver: 3 });
    expect(readFileSync(scratch.at('outside'), 'utf8')).toBe(secret);
  });

  it('erases a file with several links once when all of them are inside', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume/a'), { recursive: true });
    writeFileSync(scratch.at('volume/one'), secret);
    linkSync(scratch.at('volume/one'), scratch.at('volume/a/two'));
    const report = await eraseTree(scratch.directory, 'volume', options('zero'));
    expect(report.files).toBe(1);
    expect(report.erasedBytes).toBe(BigInt(secret.length));
    expect(readFileSync(scratch.at('volume/a/two')).every((byte) => byte === 0)).toBe(true);
  });

  it('leaves a file alone that has a link outside, erases the others and says which and how many', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume/a'), { recursive: true });
    writeFileSync(scratch.at('outside'), secret);
    linkSync(scratch.at('outside'), scratch.at('volume/a/linked'));
    writeFileSync(scratch.at('volume/own'), secret);
    await expect(eraseTree(scratch.directory, 'volume', options('zero'))).rejects.toMatchObject({
      reason: 'cannot-erase',
      message: expect.stringMatching(
        /^1 file of volume cannot be erased: volume\/a\/linked has 2 hard links of which 1 /,
      ) as string,
    });
    expect(readFileSync(scratch.at('outside'), 'utf8')).toBe(secret);
    expect(readFileSync(scratch.at('volume/own')).every((byte) => byte === 0)).toBe(true);
  });

  it('erases files without write permission, and names that are not UTF-8', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('volume'));
    const path = Buffer.concat([Buffer.from(`${scratch.at('volume')}/`), Buffer.from([0xff, 0x0a, 0xc3])]);
    writeFileSync(path, secret);
    chmodSync(path, 0);
    await eraseTree(scratch.directory, 'volume', options('zero'));
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true);
  });

  it('asks its pace for every byte before it is written, and stops with the signal', async () => {
    await using scratch = await ScratchDirectory.make();
    writeFileSync(scratch.at('image'), Buffer.alloc(8 * 1024 * 1024, 'x'));
    const abort = new AbortController();
    let asked = 0;
    const bytes = async (count: number, signal: AbortSignal) => {
      signal.throwIfAborted();
      asked += count;
      if (asked >= 4 * 1024 * 1024) abort.abort(new Error('enough'));
    };
    const stopped = eraseTree(scratch.directory, 'image', {
      ...options('zero'),
      signal: abort.signal,
      pace: { ...unlimitedPace, bytes },
    });
    await expect(stopped).rejects.toThrow('enough');
    expect(asked).toBeLessThanOrEqual(5 * 1024 * 1024);
    expect(readFileSync(scratch.at('image')).includes('x')).toBe(true);
    await eraseTree(scratch.directory, 'image', options('zero'));
    expect(readFileSync(scratch.at('image')).includes('x')).toBe(false);
  });
});
