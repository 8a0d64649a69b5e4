import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { CapacityWorld, enabled, GiB, namespace } from './capacity-world.ts';

let world: CapacityWorld;
beforeEach(() => {
  world = new CapacityWorld();
});
afterEach(() => world.end());

describe('the Node', () => {
  it('is waited for where there is none: nothing is published that nobody would read and nothing would remove', async () => {
    world.api.erase('Node', 'node-a');
    await world.start(enabled);
    await world.pass(60_000);
    expect(world.writes()).toEqual([]);
    expect(world.api.calls.filter(({ kind }) => kind === 'Node').length).toBeLessThan(15);
    world.api.put('Node', { metadata: { name: 'node-a', uid: 'node-2' } });
    await world.pass(6_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
  });

  it('made anew owns what is published from then on', async () => {
    const { api } = world;
    let answerMs = 0;
    const slow: KubeApi = {
      get: async (kind, key, signal) => {
        if (kind === 'Node') await world.clock.sleep(answerMs, signal);
        return api.get(kind, key, signal);
      },
      list: api.list.bind(api),
      create: api.create.bind(api),
      patch: api.patch.bind(api),
      remove: api.remove.bind(api),
      watch: api.watch.bind(api),
    };
    await world.start(enabled, { api: slow });
    await world.pass(2_000);
    const key = `${namespace}/${world.find()?.metadata.name}`;
    answerMs = 2_000;
    world.api.erase('Node', 'node-a');
    // the garbage collector, while the API server is slow to say that the Node is gone
    world.api.erase('CSIStorageCapacity', key);
    await world.pass(1_500);
    expect(world.published()).toEqual({});
    await world.pass(20_000);
    expect(world.published()).toEqual({});
    world.api.put('Node', { metadata: { name: 'node-a', uid: 'node-2' } });
    await world.pass(6_000);
    expect(world.find()?.metadata.ownerReferences?.[0]?.uid).toBe('node-2');
  });

  it('made anew while nobody collects shows within minutes', async () => {
    await world.start(enabled);
    await world.pass(2_000);
    world.api.erase('Node', 'node-a');
    world.api.put('Node', { metadata: { name: 'node-a', uid: 'node-2' } });
    await world.pass(3 * 60_000);
    expect(world.find()?.metadata.ownerReferences).toHaveLength(1);
    expect(world.find()?.metadata.ownerReferences?.[0]?.uid).toBe('node-2');
  });

  it('hears of each pool that is lost and found, once a change', async () => {
    await world.start(enabled);
    await world.pass(6_000);
    const lose = (why: string): void => {
      world.driver.troubles = [{ name: 'one', path: '/one', why }];
      world.change(0n, why);
    };
    lose('/one is gone; mount its disk again');
    await world.pass(30_000);
    lose('/one is read-only');
    await world.pass(30_000);
    world.driver.troubles = [];
    world.change(GiB);
    await world.pass(30_000);
    expect(world.events()).toEqual([
      'Warning PoolUnavailable: pool one at /one is unavailable: /one is gone; mount its disk again',
      'Warning PoolUnavailable: pool one at /one is unavailable: /one is read-only',
      'Normal PoolAvailable: pool one at /one is available again',
    ]);
    expect(world.api.all('Event')[0]?.involvedObject).toMatchObject({
      kind: 'Node',
      name: 'node-a',
      uid: 'node-1',
    });
  });
});
