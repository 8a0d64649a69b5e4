import { describe, expect, it } from 'vitest';
import { tooMuch } from '../../bench/check-added.ts';

const alone = { count: 100, p50: 2, p99: 10, max: 40 };

describe('what a delete adds to others', () => {
  it('is fine up to the promise, over what they took without it', () => {
    expect(tooMuch('create', alone, alone)).toEqual([]);
    expect(tooMuch('create', alone, { ...alone, p99: 110, max: 140 })).toEqual([]);
    expect(tooMuch('create', { ...alone, max: 500 }, { ...alone, max: 550 })).toEqual([]);
  });

  it('is too much in the p99 or in the worst', () => {
    expect(tooMuch('create', alone, { ...alone, p99: 111 })).toEqual([
      'create: 101.0 ms added to its p99, more than 100.0 ms',
    ]);
    expect(tooMuch('create', alone, { ...alone, max: 141 })).toHaveLength(1);
  });

  it('is too much where nothing could be measured', () => {
    const none = { count: 0, p50: Number.NaN, p99: Number.NaN, max: Number.NaN };
    expect(tooMuch('create', alone, none)).toHaveLength(2);
  });
});
