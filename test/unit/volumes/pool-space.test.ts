import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { spaceOf } from '../../../src/volumes/space/capacity.ts';
import { GiB } from '../../support/volume-lab.ts';

describe('the space of a pool', () => {
  const rules = { overcommitRatio: 1, reservedShare: 0 };
  const empty = {
    totalBytes: 100n * GiB,
    availableBytes: 100n * GiB,
    promisedBytes: 0n,
    unwrittenBytes: 0n,
    pendingBytes: 0n,
  };

  test('is all of an empty disk', () => {
    expect(spaceOf(empty, rules).thinBytes).toBe(100n * GiB);
  });

  test('counts a promise in full though nothing is written', () => {
    expect(spaceOf({ ...empty, promisedBytes: 30n * GiB }, rules).thinBytes).toBe(70n * GiB);
  });

  test('is bounded by what is free on the disk, whoever uses it', () => {
    expect(spaceOf({ ...empty, availableBytes: 20n * GiB }, rules).thinBytes).toBe(20n * GiB);
  });

  test('keeps free what images were promised and have not written, where other data shares the disk', () => {
    const shared = { ...empty, availableBytes: 50n * GiB, promisedBytes: 40n * GiB };
    expect(spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, rules).thinBytes).toBe(10n * GiB);
    expect(spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, rules).thickBytes).toBeLessThanOrEqual(
      10n * GiB,
    );
    // once they are written they lie in what is not free any more
    expect(spaceOf({ ...shared, unwrittenBytes: 0n }, rules).thinBytes).toBe(50n * GiB);
    expect(spaceOf({ ...shared, unwrittenBytes: 60n * GiB }, rules).thinBytes).toBe(0n);
    expect(
      spaceOf({ ...shared, unwrittenBytes: 40n * GiB }, { ...rules, overcommitRatio: 2 }).thinBytes,
    ).toBe(60n * GiB);
  });

  test('may be promised several times to thin volumes, never to thick ones', () => {
    const space = spaceOf({ ...empty, promisedBytes: 50n * GiB }, { ...rules, overcommitRatio: 3 });
    expect(space.thinBytes).toBe(250n * GiB);
    expect(space.thickBytes).toBeLessThan(100n * GiB);
  });

  test('leaves the reserved share alone', () => {
    const space = spaceOf(empty, { ...rules, reservedShare: 0.1 });
    expect(space.thinBytes).toBe(90n * GiB);
    expect(space.largestThinBytes).toBe(90n * GiB);
  });

  test.each([
    // ratio, reserved, promised, available -> what is left of 100 GiB to promise
    [2, 0.1, 100n, 60n, 80n],
    [2, 0.1, 0n, 30n, 40n],
    [1.5, 0, 0n, 100n, 150n],
    [1.5, 0.2, 120n, 100n, 0n],
    [1, 0.5, 20n, 100n, 30n],
    [4, 0.25, 10n, 20n, 0n],
  ])(
    'at ratio %d with %d reserved, %d GiB promised and %d free, leaves %d',
    (ratio, share, promised, free, left) => {
      const space = spaceOf(
        { ...empty, promisedBytes: promised * GiB, availableBytes: free * GiB },
        { overcommitRatio: ratio, reservedShare: share },
      );
      expect(space.thinBytes).toBe(left * GiB);
    },
  );

  test('does not give out twice what is being allocated', () => {
    const space = spaceOf({ ...empty, promisedBytes: 60n * GiB, pendingBytes: 60n * GiB }, rules);
    expect(space.thickBytes).toBeLessThanOrEqual(40n * GiB);
  });

  test('is never negative, never more than could ever be, and always whole blocks', () => {
    const bytes = fc.bigInt({ min: 0n, max: 1n << 50n });
    fc.assert(
      fc.property(
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        fc.double({ min: 0.1, max: 20, noNaN: true }),
        (total, a, p, q, u, ratio) => {
          const facts = {
            totalBytes: total,
            availableBytes: a < total ? a : total,
            promisedBytes: p,
            pendingBytes: q,
            unwrittenBytes: u,
          };
          const space = spaceOf(facts, { overcommitRatio: ratio, reservedShare: 0.05 });
          for (const size of Object.values(space)) {
            expect(size).toBeGreaterThanOrEqual(0n);
            expect(size % 4096n).toBe(0n);
          }
          expect(space.thinBytes).toBeLessThanOrEqual(space.largestThinBytes);
          expect(space.thickBytes).toBeLessThanOrEqual(space.largestThickBytes);
        },
      ),
    );
  });
});
