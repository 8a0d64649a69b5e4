import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/model/system-clock.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the system clock', () => {
  it('waits longer than one timer can', async () => {
    const monthMs = 30 * 24 * 3_600_000;
    const called = vi.fn();
    systemClock.after(monthMs, called);
    await vi.advanceTimersByTimeAsync(monthMs - 1);
    expect(called).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(called).toHaveBeenCalledOnce();
  });

  it('can be told not to call, late too', async () => {
    const called = vi.fn();
    const cancel = systemClock.after(2 ** 32, called);
    await vi.advanceTimersByTimeAsync(2 ** 31 + 5);
    cancel();
    await vi.advanceTimersByTimeAsync(2 ** 32);
    expect(called).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('sleeps until the time or the abort, and leaves no timer behind', async () => {
    const controller = new AbortController();
    const slept = systemClock.sleep(1_000, controller.signal);
    await vi.advanceTimersByTimeAsync(1_000);
    await expect(slept).resolves.toBeUndefined();

    const reason = new Error('enough');
    const cut = systemClock.sleep(1_000, controller.signal);
    controller.abort(reason);
    await expect(cut).rejects.toBe(reason);
    await expect(systemClock.sleep(1_000, controller.signal)).rejects.toBe(reason);
    expect(vi.getTimerCount()).toBe(0);
  });
});
