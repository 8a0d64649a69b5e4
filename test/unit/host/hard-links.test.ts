import type { BigIntStats } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { HardLinks } from '../../../src/host/hard-links.ts';

const stat = (ino: bigint, nlink: bigint) => ({ dev: 1n, ino, nlink }) as BigIntStats;

describe('files with several links', () => {
  it('are erased at once with one link, and once in the second pass when all links are inside', () => {
    const links = new HardLinks();
    expect(links.isToErase(stat(1n, 1n), 'single')).toBe(true);
    expect(links.isToErase(stat(2n, 2n), 'a')).toBe(false);
    expect(links.isToErase(stat(2n, 2n), 'b')).toBe(false);
    expect(links.beginSecondPass()).toBe(true);
    expect(links.isToErase(stat(1n, 1n), 'single')).toBe(false);
    expect(links.isToErase(stat(2n, 2n), 'a')).toBe(true);
    expect(links.isToErase(stat(2n, 2n), 'b')).toBe(false);
    expect(links.outside()).toEqual([]);
  });

  it('are left alone while a link is elsewhere', () => {
    const links = new HardLinks();
    links.isToErase(stat(3n, 3n), 'x');
    links.isToErase(stat(3n, 3n), 'y');
    expect(links.beginSecondPass()).toBe(false);
    expect(links.isToErase(stat(3n, 3n), 'x')).toBe(false);
    expect(links.outside()).toEqual([
      { path: 'x', why: 'has 3 hard links of which 2 are inside the volume' },
    ]);
  });

  it('are left alone when one appears between the passes', () => {
    const links = new HardLinks();
    links.isToErase(stat(4n, 2n), 'x');
    links.isToErase(stat(4n, 2n), 'y');
    links.beginSecondPass();
    expect(links.isToErase(stat(4n, 3n), 'x')).toBe(false);
    expect(links.outside()).toHaveLength(1);
  });
});
