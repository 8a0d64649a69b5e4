import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDurationMs, parseDurationMs } from '../../../src/model/duration.ts';

describe('a duration', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1.5h', 5_400_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['0s', 0],
  ])('reads %s', (text, durationMs) => {
    expect(parseDurationMs(text)).toBe(durationMs);
  });

  it.each(['', '5', '5 m', 'm', '-5m', '5min', '5m ', 'five', '1h30', '9999999999999999d'])(
    'refuses %j',
    (text) => {
      expect(() => parseDurationMs(text)).toThrow(/is not a duration; write it as 30s/);
    },
  );

  it('reads back what it writes, where two units say it all', () => {
    const number = fc.integer({ min: 1, max: 59 });
    fc.assert(
      fc.property(number, number, (minutes, seconds) => {
        const durationMs = (minutes * 60 + seconds) * 1000;
        expect(parseDurationMs(formatDurationMs(durationMs))).toBe(durationMs);
      }),
    );
  });

  it.each([
    [250, '250ms'],
    [30_000, '30s'],
    [300_000, '5m'],
    [5_430_000, '1h30m'],
    [90_061_000, '1d1h'],
    [3_605_000, '1h'],
  ])('is written short: %i is %s', (durationMs, text) => {
    expect(formatDurationMs(durationMs)).toBe(text);
  });
});
