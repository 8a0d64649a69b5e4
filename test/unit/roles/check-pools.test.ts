import { describe, expect, it } from 'vitest';
import { checkPools } from '../../../src/roles/check-pools.ts';

const missing = [
  { name: 'fast', path: '/mnt/fast', why: '/mnt/fast is gone' },
  { name: 'big', path: '/mnt/big', why: 'pool big: its disk is away' },
];
const check = (isAnyOpen: boolean, unavailable: typeof missing) =>
  checkPools({ isAnyOpen: () => isAnyOpen, unavailable: () => unavailable });

describe('the pools of a node', () => {
  it('are ready while one is open, and name those that are not', async () => {
    const found = check(true, missing);
    expect(await found.problem()).toBeUndefined();
    expect(found.degraded?.()).toBe('pool fast: /mnt/fast is gone; pool big: its disk is away');
    expect(check(true, []).degraded?.()).toBeUndefined();
  });

  it('are not ready while none is open', async () => {
    expect(await check(false, missing).problem()).toBe('fast: /mnt/fast is gone; big: its disk is away');
    expect(await check(false, []).problem()).toBe('no pool is configured');
  });
});
