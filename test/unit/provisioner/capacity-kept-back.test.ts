import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { capacityLabels } from '../../../src/provisioner/capacity/capacity-object.ts';
import { CapacityWorld, enabled, GiB, namespace } from './capacity-world.ts';

let world: CapacityWorld;
beforeEach(() => {
  world = new CapacityWorld();
});
afterEach(() => world.end());

const scope = { driverName: 'loam.dev', nodeName: 'node-a', topologyValue: 'node-a', namespace };

describe('published capacity', () => {
  it('of one class is not kept back by an object of another that may not be removed', async () => {
    world.api.put('CSIStorageCapacity', {
      metadata: { name: 'old', namespace, labels: capacityLabels(scope) },
      storageClassName: 'gone',
    });
    world.api.fail('remove', 'CSIStorageCapacity', new ApiError(403, 'Forbidden', 'another node’s'), {
      times: 1_000,
    });
    await world.start(enabled);
    await world.pass(2_000);
    expect(world.find()?.maximumVolumeSize).toBe('10Gi');
    world.change(9n * GiB);
    await world.pass(1_000);
    expect(world.find()?.maximumVolumeSize).toBe('9Gi');
    await world.pass(10 * 60_000);
    expect(world.writes().filter((verb) => verb === 'remove').length).toBeLessThan(70);
  });

  it('is not made for a Node of which only an answer speaks that was asked for before it went', async () => {
    const { api } = world;
    let isSlow = false;
    const slow: KubeApi = {
      get: async (kind, key, signal) => {
        const found = await api.get(kind, key, signal);
        if (kind === 'Node' && isSlow) {
          isSlow = false;
          await world.clock.sleep(20, signal);
        }
        return found;
      },
      list: api.list.bind(api),
      create: api.create.bind(api),
      patch: api.patch.bind(api),
      remove: api.remove.bind(api),
      watch: api.watch.bind(api),
    };
    await world.start(enabled, { api: slow });
    await world.pass(100_000);
    isSlow = true;
    const key = `${namespace}/${world.find()?.metadata.name}`;
    // until the next look is under way
    const looks = () => api.calls.filter(({ kind, verb }) => kind === 'Node' && verb === 'get').length;
    while (looks() < 2) await world.clock.advance(10);
    api.erase('Node', 'node-a');
    api.put('Node', { metadata: { name: 'node-a', uid: 'node-2' } });
    api.erase('CSIStorageCapacity', key);
    const owners: (string | undefined)[] = [];
    for (let step = 0; step < 200; step += 1) {
      await world.pass(10);
      const owner = world.find()?.metadata.ownerReferences?.[0]?.uid;
      if (owner !== undefined && owners.at(-1) !== owner) owners.push(owner);
    }
    expect(owners).toEqual(['node-2']);
  });
});
