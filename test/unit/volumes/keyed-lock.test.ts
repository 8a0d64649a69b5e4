import { describe, expect, it } from 'vitest';
import { KeyedLock } from '../../../src/volumes/keyed-lock.ts';

const never = new AbortController().signal;

describe('the lock of a volume', () => {
  it('answers a second call busy and says what is running', async () => {
    const lock = new KeyedLock();
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = lock.run('a', 'its creation', () => promise);
    await expect(lock.run('a', 'its deletion', async () => {})).rejects.toMatchObject({
      reason: 'busy',
      message: expect.stringContaining('its creation is still running') as string,
    });
    await expect(lock.run('b', 'its creation', async () => 1)).resolves.toBe(1);
    resolve();
    await first;
    expect(lock.holds('a')).toBe(false);
  });

  it('lets calls that wait for their turn go one by one, also after a failure', async () => {
    const lock = new KeyedLock();
    let running = 0;
    const order: number[] = [];
    const work = (index: number) => async () => {
      running += 1;
      expect(running).toBe(1);
      await Promise.resolve();
      order.push(index);
      running -= 1;
      if (index === 1) throw new Error('the second fails');
    };
    const results = await Promise.allSettled(
      [0, 1, 2, 3].map((index) => lock.runInTurn('a', 'its publishing', never, work(index))),
    );
    expect(order.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1);
  });

  it('gives up waiting when its caller does', async () => {
    const lock = new KeyedLock();
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = lock.run('a', 'its staging', () => promise);
    const caller = new AbortController();
    const second = lock.runInTurn('a', 'its publishing', caller.signal, async () => {});
    caller.abort();
    await expect(second).rejects.toMatchObject({ reason: 'busy' });
    resolve();
    await first;
  });
});
