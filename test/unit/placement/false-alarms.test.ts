import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { aCsiNode, aNode } from './builders.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

const giveVolume = (phase: 'Available' | 'Bound') =>
  world.api.put(
    'PersistentVolume',
    aPersistentVolume({
      metadata: { name: 'adopted' },
      spec: { storageClassName: 'wait', capacity: { storage: '5Gi' }, claimRef: null },
      status: { phase },
    }),
  );

describe('nobody is told that a claim cannot be had', () => {
  it.each(['fast', 'wait'])(
    'while some nodes have not published their room for a new class yet (class %s)',
    async (storageClassName) => {
      world.addNodes({ 'node-a': '0' });
      world.publish('node-a', '0', 'wait');
      world.api.put('Node', aNode('node-b'));
      world.api.put('CSINode', aCsiNode('node-b'));
      await world.start();
      world.claim('data', { storageClassName });
      await world.pass(2_000);
      expect(world.events()).toEqual([]);
      world.publish('node-b', '10Gi', storageClassName);
      await world.pass(10_000);
      expect(world.events()).toEqual([]);
      expect(world.nodeOf()).toBe(storageClassName === 'fast' ? 'node-b' : undefined);
    },
  );

  it('for the first seconds in which nothing is published, also where that was so once before', async () => {
    world.api.put('Node', aNode('node-a'));
    world.api.put('CSINode', aCsiNode('node-a'));
    await world.start();
    world.claim('first');
    await world.pass(1_000);
    world.publish('node-a', '20Gi');
    await world.pass(60_000);
    expect(world.nodeOf('first')).toBe('node-a');
    world.api.erase('CSIStorageCapacity', 'loam/csisc-fast-node-a');
    await world.pass(0);
    world.claim('second');
    await world.pass(2_000);
    world.publish('node-a', '20Gi');
    await world.pass(1_000);
    expect(world.nodeOf('second')).toBe('node-a');
    expect(world.events()).toEqual([]);
  });

  it('where a volume that nobody has fits it, which its first pod will get', async () => {
    world.addNodes({ 'node-a': '1Gi' });
    world.publish('node-a', '1Gi', 'wait');
    giveVolume('Available');
    await world.start();
    world.claim('data', { storageClassName: 'wait' });
    await world.pass(10_000);
    expect(world.events()).toEqual([]);
  });

  it('where its selector asks for a volume that is there already', async () => {
    world.addNodes({ 'node-a': '1Gi' });
    world.publish('node-a', '1Gi', 'wait');
    await world.start();
    world.claim('data', { storageClassName: 'wait', selector: { matchLabels: { disk: 'old' } } });
    await world.pass(10_000);
    expect(world.events()).toEqual([]);
  });

  it('more than once for each kind of trouble in ten minutes, however often one turns into the other', async () => {
    world.addNodes({ 'node-a': '1Gi', 'node-b': '1Gi' });
    await world.start();
    world.claim();
    await world.pass(0);
    for (let flip = 0; flip < 20; flip += 1) {
      world.api.edit('Node', 'node-b', (node) => void (node.spec = { unschedulable: flip % 2 === 0 }));
      world.publish('node-a', `${1_000 + flip}Mi`);
      await world.pass(10_000);
    }
    expect(world.events()).toHaveLength(2);
  });
});

describe('a claim that every node gives back', () => {
  it('is told so once in ten minutes, however often it was placed in between', async () => {
    world.addNodes({ 'node-a': '20Gi' });
    await world.start();
    world.claim();
    let times = 0;
    for (let second = 0; second < 500; second += 1) {
      if (second % 5 === 0) world.publish('node-a', `${20 + second}Gi`);
      await world.pass(1_000);
      if (world.nodeOf() === undefined) continue;
      times += 1;
      world.select('data', undefined);
    }
    expect(times).toBeGreaterThan(5);
    expect(world.events()).toHaveLength(1);
  });
});

describe('a claim whose placement could not be written', () => {
  it('does not stand in its own way with the room that was promised to it', async () => {
    world.addNodes({ 'node-a': '5Gi' });
    await world.start();
    world.api.fail('patch', 'PersistentVolumeClaim', new ApiUnreachable('refused'));
    world.claim();
    await world.pass(1_000);
    expect(world.nodeOf()).toBe('node-a');
  });
});

describe('a claim for more than can be counted', () => {
  it('is told so, and not kept from it by a volume that is free', async () => {
    world.addNodes({ 'node-a': '1Gi' });
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'adopted' },
        spec: { storageClassName: 'fast', claimRef: null },
        status: { phase: 'Available' },
      }),
    );
    await world.start();
    world.claim('data', { resources: { requests: { storage: '99E' } } });
    await world.pass(2_000);
    expect(world.events()).toHaveLength(1);
  });
});

describe('a claim that kube-controller-manager has called us for', () => {
  it.each(['deleted', 'given to nobody'])(
    'is placed when the volume that an admin had reserved for it is %s',
    async (what) => {
      world.addNodes({ 'node-a': '10Gi' });
      world.api.put(
        'PersistentVolume',
        aPersistentVolume({
          metadata: { name: 'reserved' },
          spec: { storageClassName: 'fast', claimRef: { namespace: 'shop', name: 'data' } },
          status: { phase: 'Available' },
        }),
      );
      await world.start();
      world.claim();
      world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => {
        metadata.annotations = { 'volume.kubernetes.io/storage-provisioner': 'loam.dev' };
      });
      await world.pass(2_000);
      expect(world.nodeOf()).toBeUndefined();
      if (what === 'deleted') {
        world.api.edit('PersistentVolume', 'reserved', ({ metadata }) => void (metadata.finalizers = []));
        world.api.erase('PersistentVolume', 'reserved');
      } else world.api.edit('PersistentVolume', 'reserved', ({ spec }) => void (spec.claimRef = null));
      await world.pass(2_000);
      expect(world.nodeOf()).toBe('node-a');
    },
  );
});
