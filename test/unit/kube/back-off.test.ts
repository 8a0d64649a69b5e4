import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backOffMs } from '../../../src/kube/back-off.ts';
import { isAtLeast } from '../../../src/kube/resource-version.ts';

describe('the back-off', () => {
  it('doubles from its base to its top', () => {
    const waits = [1, 2, 3, 4, 5, 1000].map((failures) =>
      backOffMs(failures, { baseMs: 1_000, maxMs: 5_000 }, () => 0),
    );
    expect(waits).toEqual([1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
  });

  it('is shortened at random by a quarter at most', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (failures, random) => {
          const range = { baseMs: 100, maxMs: 300_000 };
          const fullMs = backOffMs(failures, range, () => 0);
          const waitMs = backOffMs(failures, range, () => random);
          expect(waitMs).toBeLessThanOrEqual(fullMs);
          expect(waitMs).toBeGreaterThanOrEqual(fullMs * 0.75);
        },
      ),
    );
  });
});

describe('resourceVersions', () => {
  it('compare as numbers of any size', () => {
    const version = fc.bigInt({ min: 0n, max: 2n ** 80n });
    fc.assert(fc.property(version, version, (a, b) => isAtLeast(String(a), String(b)) === a >= b));
  });

  it('that are no numbers, or not there, count as newer', () => {
    expect(isAtLeast('abc', '5')).toBe(true);
    expect(isAtLeast('5', 'abc')).toBe(true);
    expect(isAtLeast('05', '6')).toBe(true);
    expect(isAtLeast(undefined, '6')).toBe(true);
  });
});
