import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { aCapacity, aCsiNode, aNode } from './builders.ts';
import { World } from './world.ts';

describe('placement', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.end());

  it('writes the node and its label in one patch with the version as precondition', async () => {
    world.addNodes({ 'node-a': '10Gi', 'node-b': '20Gi' });
    await world.start();
    const { metadata } = world.claim();
    await world.pass(0);
    const patches = world.api.calls.filter(({ verb }) => verb === 'patch');
    expect(patches.map(({ body }) => body)).toEqual([
      {
        metadata: {
          resourceVersion: metadata.resourceVersion,
          annotations: { 'volume.kubernetes.io/selected-node': 'node-b' },
          labels: { 'loam.dev/node': 'node-b' },
        },
      },
    ]);
    expect(world.counted).toContain('loam_placements_total placed');
    expect(world.events()).toEqual([]);
  });

  it('spreads a burst by what it has given out itself, and gives out no more than there is', async () => {
    world.addNodes({ 'node-a': '10Gi', 'node-b': '20Gi', 'node-c': '15Gi' });
    await world.start();
    for (let index = 0; index < 10; index += 1) world.claim(`data-${index}`);
    await world.pass(0);
    const nodes = Array.from({ length: 10 }, (_, index) => world.nodeOf(`data-${index}`));
    const counts = ['node-a', 'node-b', 'node-c', undefined].map(
      (name) => nodes.filter((node) => node === name).length,
    );
    expect(counts).toEqual([2, 4, 3, 1]);
    // nobody is told while the room is only promised
    expect(world.events()).toEqual([]);
    for (const volumeOf of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
      if (world.nodeOf(`data-${volumeOf}`) === undefined) continue;
      const claimRef = { namespace: 'shop', name: `data-${volumeOf}`, uid: `uid-data-${volumeOf}` };
      world.api.put(
        'PersistentVolume',
        aPersistentVolume({
          metadata: { name: `pvc-uid-data-${volumeOf}`, uid: `pv-${volumeOf}` },
          spec: { claimRef },
        }),
      );
    }
    for (const name of ['node-a', 'node-b', 'node-c']) world.publish(name, '0');
    await world.pass(2_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class fast: node-a has 0, node-b has 0, node-c has 0',
    ]);
    world.publish('node-c', '5Gi');
    await world.pass(300);
    const last = nodes.indexOf(undefined);
    expect(world.nodeOf(`data-${last}`)).toBe('node-c');
  });

  it('counts what the scheduler, or a leader before it, has just given out', async () => {
    world.addNodes({ 'node-a': '10Gi', 'node-b': '8Gi' });
    world.claim('before', {}, 'node-a');
    await world.start();
    world.claim('one');
    await world.pass(0);
    expect(world.nodeOf('one')).toBe('node-b');
    world.claim('pod', { storageClassName: 'wait' });
    await world.pass(0);
    world.select('pod', 'node-a');
    await world.pass(0);
    world.claim('two');
    await world.pass(0);
    expect(world.nodeOf('two')).toBeUndefined();
    // nothing came of those promises
    await world.pass(11_000);
    expect(world.nodeOf('two')).toBe('node-a');
  });

  it('takes a claim that a node gave back to another one, and to the first again only when that has changed', async () => {
    world.addNodes({ 'node-a': '20Gi', 'node-b': '10Gi' });
    await world.start();
    world.claim();
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-a');
    world.select('data', undefined);
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-b');
    world.select('data', undefined);
    await world.pass(0);
    expect(world.nodeOf()).toBeUndefined();
    expect(world.events().join()).toContain(
      'node-a has 20 GiB by its own count but could not make the volume',
    );
    await world.pass(1_500);
    expect(world.nodeOf()).toBeUndefined();
    world.publish('node-b', '9Gi');
    await world.pass(300);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('asks a node that has given a claim back again after a minute', async () => {
    world.addNodes({ 'node-a': '20Gi' });
    await world.start();
    world.claim();
    await world.pass(0);
    world.select('data', undefined);
    await world.pass(59_000);
    expect(world.nodeOf()).toBeUndefined();
    await world.pass(1_500);
    expect(world.nodeOf()).toBe('node-a');
  });

  it('does not fall into a quarrel with a node whose numbers change and that gives back every time', async () => {
    world.addNodes({ 'node-a': '20Gi' });
    await world.start();
    world.claim();
    let times = 0;
    for (let second = 0; second < 60; second += 1) {
      world.publish('node-a', `${20 + second}Gi`);
      await world.pass(1_000);
      if (world.nodeOf() === undefined) continue;
      times += 1;
      world.select('data', undefined);
    }
    expect(times).toBeGreaterThan(3);
    expect(times).toBeLessThan(8);
  });

  it('waits for nodes that have not published yet, and then says that none serves the class', async () => {
    world.api.put('Node', aNode('node-a'));
    await world.start();
    world.claim();
    await world.pass(4_500);
    expect(world.events()).toEqual([]);
    await world.pass(1_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node serves class fast: none has the driver, or publishes what it has left',
    ]);
    world.addNodes({ 'node-b': '10Gi' });
    await world.pass(300);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('waits for the rest of the nodes of a class that was just made, so that a burst is spread and told once', async () => {
    for (const name of ['node-a', 'node-b']) {
      world.api.put('Node', aNode(name));
      world.api.put('CSINode', aCsiNode(name));
    }
    await world.start();
    world.claim('one');
    world.claim('two');
    world.claim('large', { resources: { requests: { storage: '50Gi' } } });
    world.publish('node-a', '20Gi');
    await world.pass(600);
    expect(['one', 'two'].map((name) => world.nodeOf(name))).toEqual([undefined, undefined]);
    world.publish('node-b', '20Gi');
    await world.pass(300);
    expect(new Set([world.nodeOf('one'), world.nodeOf('two')])).toEqual(new Set(['node-a', 'node-b']));
    await world.pass(10_000);
    expect(world.events()).toEqual([
      expect.stringMatching(/no node has 50 GiB for class fast: node-[ab] has 20 GiB, node-[ab] has 20 GiB/),
    ]);
  });

  it('places without a node that publishes nothing when it has waited for a second, and waits no second time', async () => {
    world.addNodes({ 'node-a': '20Gi' });
    world.api.put('Node', aNode('node-b'));
    world.api.put('CSINode', aCsiNode('node-b'));
    await world.start();
    world.claim('one');
    await world.pass(900);
    expect(world.nodeOf('one')).toBeUndefined();
    await world.pass(200);
    expect(world.nodeOf('one')).toBe('node-a');
    world.claim('two');
    await world.pass(0);
    expect(world.nodeOf('two')).toBe('node-a');
  });

  it('says once what is missing, again when it changes in kind, and every ten minutes', async () => {
    world.addNodes({ 'node-a': '1Gi', 'node-b': '2Gi' });
    await world.start();
    world.claim();
    await world.pass(0);
    for (const size of ['2Gi', '3Gi', '4Gi', '0']) {
      world.publish('node-a', size);
      await world.pass(1_000);
    }
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class fast: node-b has 2 GiB, node-a has 1 GiB',
    ]);
    world.api.edit('Node', 'node-b', (node) => void (node.spec = { unschedulable: true }));
    await world.pass(1_000);
    expect(world.events().slice(1)).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class fast: node-a has 0, node-b is cordoned',
    ]);
    await world.pass(9 * 60_000);
    expect(world.events()).toHaveLength(2);
    await world.pass(61_000);
    expect(world.events()).toHaveLength(3);
    world.api.edit('Node', 'node-b', (node) => void (node.spec = {}));
    world.publish('node-b', '5Gi');
    await world.pass(300);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('tells the claim of a pod that no node is large enough, and leaves its node to the scheduler', async () => {
    world.addNodes({ 'node-a': '1Gi' });
    world.publish('node-a', '2Gi', 'wait');
    await world.start();
    world.claim('large', { storageClassName: 'wait' });
    world.claim('small', { storageClassName: 'wait', resources: { requests: { storage: '1Gi' } } });
    await world.pass(1_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class wait: node-a has 2 GiB',
    ]);
    expect([world.nodeOf('large'), world.nodeOf('small')]).toEqual([undefined, undefined]);
  });

  it('tells the claim of a pod too that came before anything was published for its class', async () => {
    for (const name of ['node-a', 'node-b']) {
      world.api.put('Node', aNode(name));
      world.api.put('CSINode', aCsiNode(name));
    }
    await world.start();
    world.claim('large', { storageClassName: 'wait' });
    await world.pass(30_000);
    expect(world.events()).toEqual([]);
    world.publish('node-a', '2Gi', 'wait');
    await world.pass(1_000);
    world.publish('node-b', '1Gi', 'wait');
    await world.pass(1_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: no node has 5 GiB for class wait: node-a has 2 GiB, node-b has 1 GiB',
    ]);
  });

  it('tries again at once when somebody wrote to the claim in the same moment', async () => {
    world.addNodes({ 'node-a': '10Gi' });
    await world.start();
    world.api.before('patch', 'PersistentVolumeClaim', () => {
      world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
        claim.metadata.annotations = { 'volume.kubernetes.io/storage-provisioner': 'loam.dev' };
      });
    });
    world.claim();
    await world.pass(300);
    expect(world.nodeOf()).toBe('node-a');
    expect(world.counted).toContain('loam_placements_total conflict');
  });

  it('places a claim once where the answer to its patch is lost', async () => {
    world.addNodes({ 'node-a': '10Gi', 'node-b': '10Gi' });
    await world.start();
    world.api.fail('patch', 'PersistentVolumeClaim', new ApiUnreachable('reset'), { afterEffect: true });
    world.claim();
    await world.pass(10_000);
    expect(world.api.calls.filter(({ verb }) => verb === 'patch')).toHaveLength(1);
    expect(world.nodeOf()).toBeDefined();
  });

  it('stops at once and leaves the rest where it loses its lead', async () => {
    world.addNodes({ 'node-a': '10Gi' });
    await world.start();
    await world.end();
    world.claim();
    await world.pass(60_000);
    expect(world.nodeOf()).toBeUndefined();
  });

  it('passes over capacity objects that speak of no Node that is there', async () => {
    world.addNodes({ 'node-a': '6Gi' });
    world.api.put('CSIStorageCapacity', aCapacity('node-x', 'fast', '100Gi'));
    world.api.put('CSIStorageCapacity', { ...aCapacity('all', 'fast', '100Gi'), nodeTopology: {} });
    await world.start();
    world.claim();
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-a');
  });

  it('measures how many claims have no room', async () => {
    world.addNodes({ 'node-a': '1Gi' });
    const placement = await world.start();
    world.claim();
    await world.pass(0);
    placement.measure();
    expect(world.gauges.get('loam_claims_without_room')).toBe(1);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(0);
    placement.measure();
    expect(world.gauges.get('loam_claims_without_room')).toBe(0);
  });
});
