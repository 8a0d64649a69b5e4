import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/model/clock.ts';
import { createPace, unlimitedPace } from '../../../src/host/pace.ts';

/** A clock whose sleeps end at once and move it on. */
class SkippingClock implements Clock {
  now = 1_000_000;
  nowMs = () => this.now;
  async sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.now += delayMs;
  }
  after = () => () => {};
}

const { signal } = new AbortController();

describe('a pace', () => {
  it('takes as long as its rate says, less one burst', async () => {
    const clock = new SkippingClock();
    const pace = createPace({ clock, bytesPerSecond: 1000n, burstMs: 100 });
    for (let index = 0; index < 50; index += 1) await pace.bytes(100, signal);
    expect(clock.now - 1_000_000).toBeGreaterThanOrEqual(4900);
    expect(clock.now - 1_000_000).toBeLessThanOrEqual(5000);
  });

  it('saves up no more than one burst while nothing happens', async () => {
    const clock = new SkippingClock();
    const pace = createPace({ clock, filesPerSecond: 10, burstMs: 100 });
    clock.now += 3_600_000;
    const start = clock.now;
    await pace.files(11, signal);
    expect(clock.now - start).toBe(1000);
  });

  it('lets more than a burst through at once, and makes the next one wait for it', async () => {
    const clock = new SkippingClock();
    const pace = createPace({ clock, bytesPerSecond: 1000n, burstMs: 0 });
    const start = clock.now;
    await pace.bytes(5000, signal);
    expect(clock.now - start).toBe(5000);
  });

  it('counts bytes and files apart and does not limit what was not named', async () => {
    const clock = new SkippingClock();
    const pace = createPace({ clock, filesPerSecond: 1 });
    await pace.bytes(1e12, signal);
    expect(clock.now).toBe(1_000_000);
  });

  it('does not wait for hours when the clock is set back', async () => {
    const clock = new SkippingClock();
    const pace = createPace({ clock, bytesPerSecond: 1000n, burstMs: 0 });
    await pace.bytes(1000, signal);
    clock.now -= 3_600_000;
    const start = clock.now;
    await pace.bytes(1000, signal);
    expect(clock.now - start).toBe(1000);
  });

  it('ends the wait with the reason of the signal', async () => {
    const aborted = AbortSignal.abort(new Error('enough'));
    const clock = new SkippingClock();
    await expect(createPace({ clock, bytesPerSecond: 1n }).bytes(10, aborted)).rejects.toThrow('enough');
    await expect(unlimitedPace.files(1, aborted)).rejects.toThrow('enough');
  });
});
