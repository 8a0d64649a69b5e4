import type { FileHandle } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { inLanes } from '../../../src/host/lanes.ts';
import { erasePattern, overwrite } from '../../../src/host/overwrite.ts';
import { unlimitedPace } from '../../../src/host/pace.ts';

const options = { pace: unlimitedPace, signal: new AbortController().signal };

/** A disk of some bytes that takes and gives at most 1000 at a time, and changes what is written as it likes. */
function diskFile(
  content: Buffer,
  changed: (byte: number, at: number) => number,
  failsWith?: string,
): FileHandle {
  const disk = {
    fd: 0,
    write: async (bytes: Buffer, offset: number, length: number, position: number) => {
      if (failsWith !== undefined) throw Object.assign(new Error('failed'), { code: failsWith });
      const bytesWritten = Math.min(length, 1000);
      for (let at = 0; at < bytesWritten; at += 1) {
        content[position + at] = changed(bytes[offset + at] ?? 0, position + at);
      }
      return { bytesWritten };
    },
    read: async (bytes: Buffer, offset: number, length: number, position: number) => ({
      bytesRead: content.copy(bytes, offset, position, position + Math.min(length, 1000)),
    }),
    datasync: async () => {},
  };
  return disk as unknown as FileHandle;
}

const extents = [
  { startBytes: 10n, lengthBytes: 5000n, isShared: false },
  { startBytes: 1_048_000n, lengthBytes: 3000n, isShared: false },
];

describe('overwriting', () => {
  it.each(['zero', 'random'] as const)(
    'reaches every byte of the extents and no other (%s)',
    async (method) => {
      const content = Buffer.alloc(1_100_000, 'x');
      const pattern = erasePattern(method);
      const handle = diskFile(content, (byte) => byte);
      expect(await overwrite([{ handle, extents, path: 'image' }], pattern, options)).toBe(8000n);
      expect(content.subarray(0, 10).toString()).toBe('x'.repeat(10));
      expect(content.subarray(10, 5010)).toEqual(pattern.subarray(10, 5010));
      expect(content.subarray(5010, 1_048_000).every((byte) => byte === 120)).toBe(true);
      expect(content.subarray(1_048_576, 1_051_000)).toEqual(pattern.subarray(0, 2424));
      expect(content.subarray(1_051_000).every((byte) => byte === 120)).toBe(true);
    },
  );

  it.each([10, 5009, 1_050_999])('notices one bit that the disk kept otherwise, at byte %d', async (bad) => {
    const handle = diskFile(Buffer.alloc(1_100_000, 'x'), (byte, at) => (at === bad ? byte ^ 1 : byte));
    await expect(
      overwrite([{ handle, extents, path: 'image' }], erasePattern('zero'), options),
    ).rejects.toMatchObject({
      reason: 'host-failure',
      message: expect.stringMatching(/^image reads differently from what was written/) as string,
    });
  });

  it('notices a file that is shorter than was written', async () => {
    const handle = diskFile(Buffer.alloc(1_049_000, 'x'), (byte) => byte);
    await expect(
      overwrite([{ handle, extents, path: 'image' }], erasePattern('zero'), options),
    ).rejects.toMatchObject({ reason: 'host-failure' });
  });

  it.each([
    ['ENOSPC', 'cannot-erase'],
    ['EDQUOT', 'cannot-erase'],
    ['EIO', 'host-failure'],
  ])('tells %s as %s', async (code, reason) => {
    const handle = diskFile(Buffer.alloc(1_100_000), (byte) => byte, code);
    await expect(
      overwrite([{ handle, extents, path: 'image' }], erasePattern('zero'), options),
    ).rejects.toMatchObject({ reason });
  });
});

describe('doing many things in lanes', () => {
  it('does each once, and never more at a time than there are lanes', async () => {
    let now = 0;
    let most = 0;
    const done: number[] = [];
    await inLanes([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
      now += 1;
      most = Math.max(most, now);
      await Promise.resolve();
      now -= 1;
      done.push(item);
    });
    expect(done.toSorted((one, other) => one - other)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(most).toBe(3);
  });

  it('begins nothing new after a failure and ends what was begun before it rejects', async () => {
    const gate = Promise.withResolvers<void>();
    const begun: number[] = [];
    let isSlowDone = false;
    const all = inLanes([1, 2, 3, 4], 2, async (item) => {
      begun.push(item);
      if (item === 2) throw new Error('second');
      await gate.promise;
      isSlowDone = true;
    });
    gate.resolve();
    await expect(all).rejects.toThrow('second');
    expect(isSlowDone).toBe(true);
    expect(begun).toEqual([1, 2]);
  });
});
