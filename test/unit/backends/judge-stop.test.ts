import { describe, expect, it } from 'vitest';
import { whyNotByLimit, type StopFacts } from '../../../src/backends/directory/judge-stop.ts';

const MiB = 1n << 20n;
const held: StopFacts = {
  limitBytes: 4n * MiB,
  // a block of it is the directory's
  writtenBytes: 4n * MiB - 4096n,
  roomBeforeBytes: 100n * MiB,
  roomAfterBytes: 96n * MiB,
};

describe('a writer that was stopped', () => {
  it('was stopped by the limit where it came near it and the disk had room for all of it', () => {
    expect(whyNotByLimit(held)).toBeUndefined();
    expect(whyNotByLimit({ ...held, writtenBytes: 3n * MiB })).toBeUndefined();
    expect(whyNotByLimit({ ...held, roomAfterBytes: 8n * MiB })).toBeUndefined();
  });

  it.each([
    ['the disk was nearly full before', { roomBeforeBytes: 5n * MiB }],
    ['the disk was full afterwards', { roomAfterBytes: 0n }],
    ['others filled it meanwhile', { roomAfterBytes: 8n * MiB - 4096n }],
  ])('may have met a full disk: %s', (_what, facts) => {
    expect(whyNotByLimit({ ...held, ...facts })).toMatch(
      /left on the disk; free some, and it is tried again/,
    );
  });

  it.each([0n, 2n * MiB - 1n, 5n * MiB])('was stopped by something else at %d bytes', (writtenBytes) => {
    expect(whyNotByLimit({ ...held, writtenBytes })).toMatch(/a write was stopped at .* the limit was 4 MiB/);
  });
});
