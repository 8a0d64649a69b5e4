import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { aNode } from './builders.ts';
import { World } from './world.ts';

describe('claims of nodes that are away', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.addNodes({ 'node-a': '10Gi', 'node-b': '9Gi' });
  });
  afterEach(() => world.end());
  const isoNow = () => new Date(world.clock.nowMs()).toISOString();

  it.each(['fast', 'wait'])(
    'are let go at once when the Node is deleted (class %s)',
    async (storageClassName) => {
      await world.start();
      world.claim('data', { storageClassName }, 'node-a');
      await world.pass(1_000);
      expect(world.nodeOf()).toBe('node-a');
      world.api.erase('Node', 'node-a');
      await world.pass(1_000);
      expect(world.nodeOf()).toBe(storageClassName === 'fast' ? 'node-b' : undefined);
      expect(world.events()).toEqual([
        'Warning NodeUnselected: node node-a is not there any more: the claim does not wait for it any longer, and another node may be selected',
      ]);
      expect(world.counted).toContain('loam_claims_released_total node-gone');
    },
  );

  it('stay through an upgrade that takes the driver away for seconds', async () => {
    await world.start();
    world.claim('data', {}, 'node-a');
    for (let upgrade = 0; upgrade < 10; upgrade += 1) {
      world.api.edit('CSINode', 'node-a', (csiNode) => void (csiNode.spec.drivers = []));
      await world.pass(60_000);
      world.api.edit('CSINode', 'node-a', (csiNode) => {
        csiNode.spec.drivers = [{ name: 'loam.dev', nodeID: 'node-a' }];
      });
      await world.pass(1_000);
    }
    expect(world.nodeOf()).toBe('node-a');
  });

  it('are let go when the driver has been away for the limit, counted from when that was seen', async () => {
    await world.start();
    world.claim('data', {}, 'node-a');
    world.api.erase('CSINode', 'node-a');
    await world.pass(299_000);
    expect(world.nodeOf()).toBe('node-a');
    await world.pass(2_000);
    expect(world.nodeOf()).toBe('node-b');
    expect(world.events().join()).toContain('node node-a has not had the driver for 5m');
  });

  it('are given the whole limit by a node that was made anew under the same name', async () => {
    await world.start();
    world.api.erase('CSINode', 'node-a');
    await world.pass(250_000);
    world.api.erase('Node', 'node-a');
    await world.pass(1_000);
    world.api.put('Node', aNode('node-a'));
    await world.pass(0);
    world.claim('data', {}, 'node-a');
    await world.pass(299_000);
    expect(world.nodeOf()).toBe('node-a');
    await world.pass(2_000);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('are let go when the node has not been ready for the limit, and not when it comes back before', async () => {
    await world.start();
    world.claim('data', {}, 'node-a');
    const turn = (status: string) =>
      world.api.edit('Node', 'node-a', (node) => {
        node.status = { conditions: [{ type: 'Ready', status, lastTransitionTime: isoNow() }] };
      });
    turn('Unknown');
    await world.pass(200_000);
    turn('True');
    await world.pass(1_000);
    turn('False');
    await world.pass(299_000);
    expect(world.nodeOf()).toBe('node-a');
    await world.pass(2_000);
    expect(world.nodeOf()).toBe('node-b');
    expect(world.counted).toContain('loam_claims_released_total not-ready');
  });

  it.each(['by its name', 'by its claimRef'])(
    'stay where a PV exists %s that the watch has not shown',
    async (how) => {
      await world.start();
      world.claim('data', { storageClassName: 'wait' }, 'node-a');
      await world.pass(0);
      const name = how === 'by its name' ? 'pvc-uid-data' : 'static';
      // so that nothing else about it could keep the claim
      const named = how === 'by its name' ? 'another' : 'data';
      const put = () =>
        world.api.put(
          'PersistentVolume',
          aPersistentVolume({
            metadata: { name },
            spec: { claimRef: { namespace: 'shop', name: named, uid: 'uid-data' } },
          }),
        );
      if (how === 'by its name') world.api.before('get', 'PersistentVolume', put);
      else put();
      world.api.erase('Node', 'node-a');
      await world.pass(60_000);
      expect(world.nodeOf()).toBe('node-a');
      expect(world.events()).toEqual([]);
    },
  );

  it('stay where the Node is there after all', async () => {
    await world.start();
    world.claim('data', { storageClassName: 'wait' }, 'node-a');
    await world.pass(0);
    world.api.before('get', 'Node', () => void world.api.put('Node', aNode('node-a')));
    world.api.erase('Node', 'node-a');
    await world.pass(60_000);
    expect(world.nodeOf()).toBe('node-a');
  });

  it('are not touched where they are bound, or of another driver', async () => {
    world.claim('bound', { volumeName: 'pv' }, 'node-a');
    world.api.put('StorageClass', {
      metadata: { name: 'other' },
      provisioner: 'other.dev',
      volumeBindingMode: 'WaitForFirstConsumer',
    });
    world.claim('theirs', { storageClassName: 'other' }, 'node-a');
    await world.start();
    world.api.erase('Node', 'node-a');
    await world.pass(600_000);
    expect([world.nodeOf('bound'), world.nodeOf('theirs')]).toEqual(['node-a', 'node-a']);
  });

  it('are let go only where nobody selects another node in the same moment', async () => {
    await world.start();
    world.claim('data', { storageClassName: 'wait' }, 'node-a');
    await world.pass(0);
    world.api.before('patch', 'PersistentVolumeClaim', () => world.select('data', 'node-b'));
    world.api.erase('Node', 'node-a');
    await world.pass(60_000);
    expect(world.nodeOf()).toBe('node-b');
    expect(world.events()).toEqual([]);
  });
});
