import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { copyInto, writtenRuns } from '../../../src/host/copy-file.ts';

const KiB = 1024;
const signal = AbortSignal.timeout(60_000);

describe('copying a file in full', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'loam-copy-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const make = (name: string, content: Buffer, size: number): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    truncateSync(path, size);
    return path;
  };

  it('gives the same bytes, keeps holes as holes and tells how far it is', async () => {
    const content = Buffer.alloc(3 << 20);
    content.fill('a', 5, 9);
    content.fill('b', (2 << 20) - 3, (2 << 20) + 3);
    content[content.length - 1] = 1;
    const source = make('source', content, content.length + 5);
    const target = make('target', Buffer.alloc(0), content.length + 8192);
    const told: bigint[] = [];
    await copyInto(source, target, { signal, onProgress: (bytes) => told.push(bytes) });
    const copied = readFileSync(target);
    expect(copied.subarray(0, content.length).equals(content)).toBe(true);
    expect(copied.length).toBe(content.length + 8192);
    expect(statSync(target).blocks * 512).toBeLessThanOrEqual(64 * KiB);
    expect(told.at(-1)).toBe(BigInt(content.length + 5));
  });

  it('ends where it is told to', async () => {
    const source = make('source', Buffer.alloc(4 << 20, 'x'), 4 << 20);
    const target = make('target', Buffer.alloc(0), 4 << 20);
    const stopping = new AbortController();
    const onProgress = () => stopping.abort();
    await expect(copyInto(source, target, { signal: stopping.signal, onProgress })).rejects.toMatchObject({
      reason: 'cancelled',
    });
    expect(statSync(target).blocks * 512).toBeLessThan(2 << 20);
  });

  it('leaves nothing out where a read gives less than was asked for, and fails where the next one does', async () => {
    const content = Buffer.alloc(2 << 20, 'x');
    const source = make('source', content, content.length);
    const target = make('target', Buffer.alloc(0), content.length);
    const file = await open(source);
    const files = Object.getPrototypeOf(file) as typeof file;
    await file.close();
    const read = Reflect.get(files, 'read') as (...args: unknown[]) => ReturnType<typeof file.read>;
    let badFrom = Number.POSITIVE_INFINITY;
    // as the kernel does it before a sector that cannot be read
    const some = vi.spyOn(files, 'read').mockImplementation(function (
      this: typeof file,
      ...[buffer, offset, length, position]: unknown[]
    ) {
      const left = badFrom - Number(position);
      if (left <= 0) return Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }));
      const most = Math.min(Number(length), left, 300_001);
      return Reflect.apply(read, this, [buffer, offset, most, position]);
    });
    try {
      await copyInto(source, target, { signal });
      expect(readFileSync(target).equals(content)).toBe(true);
      badFrom = (1 << 20) + 5 * KiB;
      await expect(copyInto(source, target, { signal })).rejects.toThrow('EIO');
    } finally {
      some.mockRestore();
    }
  });

  it('is no copy of a file that becomes shorter meanwhile', async () => {
    const source = make('source', Buffer.alloc(4 << 20, 'x'), 4 << 20);
    const target = make('target', Buffer.alloc(0), 4 << 20);
    const onProgress = () => truncateSync(source, (3 << 20) - KiB);
    await expect(copyInto(source, target, { signal, onProgress })).rejects.toThrow(
      `has ended at ${(3 << 20) - KiB} bytes`,
    );
  });

  it('follows no link', async () => {
    const source = make('source', Buffer.alloc(5, 'x'), 5);
    await expect(copyInto(source, '/proc/self/exe', { signal })).rejects.toThrow(/ELOOP/);
    await expect(copyInto('/proc/self/exe', source, { signal })).rejects.toThrow(/ELOOP/);
  });

  it.each([
    ['nothing', Buffer.alloc(0), []],
    ['zeros', Buffer.alloc(20 * KiB), []],
    ['a short rest', Buffer.alloc(100, 1), [[0, 100]]],
    [
      'two stretches',
      Buffer.concat([
        Buffer.alloc(8192, 1),
        Buffer.alloc(4096),
        Buffer.alloc(1),
        Buffer.alloc(4095, 1),
        Buffer.alloc(9),
      ]),
      [
        [0, 8192],
        [12288, 16384],
      ],
    ],
  ])('finds what is to be written in %s', (_name, chunk, expected) => {
    expect(writtenRuns(chunk)).toEqual(expected);
  });
});
