import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import { CapacityWorld, enabled, GiB, namespace } from './capacity-world.ts';

describe('room that the controller took for gone', () => {
  let world: CapacityWorld;
  beforeEach(async () => {
    world = new CapacityWorld();
    await world.start(enabled);
    await world.pass(5_000);
  });
  afterEach(() => world.end());

  const withdraw = () => {
    const { name } = world.find()?.metadata ?? { name: '' };
    world.api.edit('CSIStorageCapacity', `${namespace}/${name}`, (edited) => {
      edited.capacity = '0';
      edited.maximumVolumeSize = '0';
      edited.metadata.annotations = { 'loam.dev/reason': 'the driver has not been on this node for 5m' };
    });
  };
  const none = { fast: '0: the driver has not been on this node for 5m' };

  it('is there again within a second where the process only had no kubelet', async () => {
    withdraw();
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
    expect(world.find()?.capacity).toBe('10Gi');
  });

  // the watch, the Node and the writes are each tried again at times of their own: whichever of them is first
  const outagesMs = [0, 7, 14, 21, 28].map((seconds) => 3_600_000 + seconds * 1_000);
  const returns = 'is there again within a second of the first news after %d ms without the API server';
  it.each(outagesMs)(returns, async (outageMs) => {
    world.api.goDeaf();
    const gone = new ApiUnreachable('no route');
    world.api.fail('get', 'Node', gone, { times: 10_000 });
    world.api.fail('patch', 'CSIStorageCapacity', gone, { times: 10_000 });
    // a write that it could not make
    world.change(9n * GiB);
    withdraw();
    await world.pass(outageMs);
    expect(world.published()).toEqual(none);
    world.api.hearAgain();
    world.api.heal();
    const watches = () =>
      world.api.calls.filter(({ verb, kind }) => verb === 'watch' && kind === 'CSIStorageCapacity').length;
    const before = watches();
    let waitedMs = 0;
    // the next try of the watch is up to half a minute away
    for (; watches() === before && waitedMs < 60_000; waitedMs += 100) await world.pass(100);
    expect(waitedMs).toBeLessThan(31_000);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '9Gi' });
  });

  it('is there again within a second of the start of a new process', async () => {
    await world.end();
    withdraw();
    await world.start(enabled);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '10Gi' });
  });

  it('is what there is, where less is left than before', async () => {
    await world.end();
    withdraw();
    world.room = { availableBytes: 0n, reason: 'pool p is full' };
    await world.start(enabled);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '0: pool p is full' });
    withdraw();
    await world.pass(2_000);
    expect(world.published()).toEqual({ fast: '0: pool p is full' });
    world.change(2n * GiB);
    await world.pass(1_000);
    expect(world.published()).toEqual({ fast: '2Gi' });
  });
});
