import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes, formatQuantity, maxInt64, parseQuantity } from '../../../src/model/quantity.ts';

describe('a Kubernetes quantity', () => {
  it.each([
    ['0', 0n],
    ['1', 1n],
    ['10Gi', 10n << 30n],
    ['1.5Gi', 1610612736n],
    ['500M', 500_000_000n],
    ['1k', 1000n],
    ['1e3', 1000n],
    ['1E3', 1000n],
    ['2E', 2_000_000_000_000_000_000n],
    ['.5Ki', 512n],
    ['1.', 1n],
    ['+3Mi', 3n << 20n],
    ['7Ei', 7n << 60n],
  ])('%s is %s bytes', (text, bytes) => {
    expect(parseQuantity(text)).toBe(bytes);
  });

  it.each([
    ['100m', 1n],
    ['1500m', 2n],
    ['0.3Ki', 308n],
    ['1e-3', 1n],
  ])('%s is rounded up to %s', (text, bytes) => {
    expect(parseQuantity(text)).toBe(bytes);
  });

  it.each(['', 'ten', '-1', '1Gib', '1 Gi', '1..2', 'Gi', '0x10', '1e', 'NaN', 'Infinity'])(
    'refuses %j',
    (text) => {
      expect(() => parseQuantity(text)).toThrow(/is not a size/);
    },
  );

  it('refuses more than an int64', () => {
    expect(parseQuantity('9223372036854775807')).toBe(maxInt64);
    expect(() => parseQuantity('8Ei')).toThrow(/more than/);
    expect(() => parseQuantity('1e100')).toThrow(/more than/);
  });

  it('prints what it can read back exactly', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, maxInt64), (bytes) => {
        expect(parseQuantity(formatQuantity(bytes))).toBe(bytes);
      }),
    );
  });
});

describe('bytes for people', () => {
  it.each([
    [0n, '0 bytes'],
    [1023n, '1023 bytes'],
    [1024n, '1 KiB'],
    [5n << 30n, '5 GiB'],
    [3_435_973_837n, '3.2 GiB'],
    [3_435_973_836n, '3.19 GiB'],
    [maxInt64, '7.99 EiB'],
  ])('%s reads %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
