import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limitOf } from '../../../src/backends/btrfs/hold-limit.ts';

const MiB = 1n << 20n;
const membersOf = (...used: readonly bigint[]) =>
  used.map((usedBytes, index) => ({ id: BigInt(index), usedBytes, limitBytes: undefined }));

describe('the limit of a subvolume', () => {
  it('is the size where there are none inside, whatever it has', () => {
    const [one] = membersOf(70n * MiB);
    expect(one && limitOf(one, [one], 64n * MiB)).toBe(64n * MiB);
  });

  it('is what each has and what is left for all, and never less than they have', () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt(0n, 1n << 40n), { minLength: 2, maxLength: 6 }),
        fc.bigInt(1n << 20n, 1n << 42n),
        (used, sizeBytes) => {
          const members = membersOf(...used);
          const sum = used.reduce((left, right) => left + right, 0n);
          const rest = sizeBytes > sum ? sizeBytes - sum : 0n;
          for (const member of members) {
            const limit = limitOf(member, members, sizeBytes);
            expect(limit).toBeGreaterThanOrEqual(4096n);
            if (member.usedBytes >= 4096n) expect(limit).toBe(member.usedBytes + rest);
          }
        },
      ),
    );
  });
});
