import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { aCapacity, aCsiNode, aNode } from './builders.ts';
import { World } from './world.ts';

const limitMs = 300_000;
const driverGone = 'the driver has not been on this node for 5m';

describe('the room of a node that is away', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.addNodes({ 'node-a': '10Gi', 'node-b': '10Gi' });
    world.publish('node-a', '7Gi', 'wait');
  });
  afterEach(() => world.end());

  const find = (name: string) => world.api.peek('CSIStorageCapacity', `loam/${name}`);
  /** what `fast` has on a node, with the reason */
  const told = (node = 'node-a', className = 'fast') => {
    const { capacity, maximumVolumeSize, metadata } = find(`csisc-${className}-${node}`) ?? {};
    return [capacity, maximumVolumeSize, metadata?.annotations?.['loam.dev/reason']];
  };
  const writes = () =>
    world.api.calls.filter(
      ({ kind, verb }) => kind === 'CSIStorageCapacity' && !['list', 'watch'].includes(verb),
    );
  const loseDriver = (node = 'node-a') =>
    world.api.edit('CSINode', node, (found) => void (found.spec.drivers = []));
  const regainDriver = (node = 'node-a') =>
    world.api.edit('CSINode', node, (found) => void (found.spec.drivers = aCsiNode(node).spec.drivers));
  const turn = (status: string, ageMs = 0) =>
    world.api.edit('Node', 'node-a', (node) => {
      const lastTransitionTime = new Date(world.clock.nowMs() - ageMs).toISOString();
      node.status = { conditions: [{ type: 'Ready', status, lastTransitionTime }] };
    });
  /** As the node's own process does. */
  const write = (size: string, className = 'fast') =>
    world.api.edit('CSIStorageCapacity', `loam/csisc-${className}-node-a`, (found) => {
      found.capacity = size;
      found.maximumVolumeSize = size;
      delete found.metadata.annotations?.['loam.dev/reason'];
    });
  const none = ['0', '0', driverGone];
  const tenGi = ['10Gi', '10Gi', undefined];

  it('is none once the driver has been gone for longer than the limit, and not before', async () => {
    await world.start();
    loseDriver();
    await world.pass(limitMs);
    expect(writes()).toEqual([]);
    const version = find('csisc-fast-node-a')?.metadata.resourceVersion;
    await world.pass(1);
    expect(told()).toEqual(none);
    expect(told('node-a', 'wait')).toEqual(none);
    expect(told('node-b')).toEqual(tenGi);
    // one patch an object, with the version as precondition, and nothing after it
    await world.pass(3_600_000);
    expect(writes()).toHaveLength(2);
    expect(writes()[0]).toMatchObject({
      verb: 'patch',
      body: { metadata: { resourceVersion: version }, capacity: '0', maximumVolumeSize: '0' },
    });
    expect(world.counted.filter((each) => each.startsWith('loam_capacity'))).toEqual([
      'loam_capacity_withdrawn_total driver-lost',
    ]);
  });

  it('is none where there is no CSINode at all, and where the node is not ready', async () => {
    await world.start();
    world.api.erase('CSINode', 'node-b');
    turn('Unknown');
    await world.pass(limitMs);
    expect(writes()).toEqual([]);
    await world.pass(1);
    expect(told('node-b')).toEqual(none);
    expect(told()).toEqual(['0', '0', 'this node has not been ready for 5m']);
  });

  it('is as it was for an upgrade that takes seconds, however often there is one', async () => {
    await world.start();
    for (let round = 0; round < 20; round += 1) {
      loseDriver();
      turn('False');
      await world.pass(30_000);
      regainDriver();
      turn('True');
      await world.pass(30_000);
    }
    await world.pass(3_600_000);
    expect(writes()).toEqual([]);
  });

  it('is what the node says when it is back, before kubelet knows the driver and after', async () => {
    await world.start();
    loseDriver();
    await world.pass(2 * limitMs);
    expect(told()).toEqual(none);
    write('6Gi');
    await world.pass(60_000);
    regainDriver();
    await world.pass(3_600_000);
    expect(told()).toEqual(['6Gi', '6Gi', undefined]);
    expect(writes()).toHaveLength(2);
  });

  it('is contradicted once in the limit, and no more, where a process without kubelet puts it right', async () => {
    await world.start();
    loseDriver();
    await world.pass(limitMs + 1);
    for (let second = 0; second < 3_600; second += 1) {
      if (told()[0] === '0') write('10Gi');
      await world.pass(1_000);
    }
    const count = writes().filter(({ name }) => name === 'csisc-fast-node-a').length;
    expect(count).toBeGreaterThan(8);
    expect(count).toBeLessThan(14);
  });

  it('counts from what the Node says where a new leader begins, and from then where nobody wrote it down', async () => {
    turn('Unknown', 600_000);
    loseDriver('node-b');
    await world.start();
    expect(told()).toEqual(['0', '0', 'this node has not been ready for 10m']);
    await world.pass(limitMs - 1_000);
    expect(told('node-b')).toEqual(tenGi);
    await world.pass(2_000);
    expect(told('node-b')).toEqual(none);
  });

  it('is left to the garbage collector where the Node is gone, and a Node made anew has the whole limit', async () => {
    await world.start();
    loseDriver();
    await world.pass(250_000);
    world.api.erase('Node', 'node-a');
    await world.pass(3_600_000);
    expect(writes()).toEqual([]);
    world.api.put('Node', { ...aNode('node-a'), metadata: { name: 'node-a', uid: 'node-2' } });
    await world.pass(limitMs);
    expect(writes()).toEqual([]);
    await world.pass(1);
    expect(told()).toEqual(none);
  });

  it('stays where the API server says that the node is ready, gone, or another, though the watch does not', async () => {
    await world.start();
    turn('Unknown');
    await world.pass(limitMs);
    world.api.before('get', 'Node', () => turn('True'));
    await world.pass(60_000);
    turn('Unknown');
    await world.pass(limitMs);
    world.api.before('get', 'Node', () => world.api.erase('Node', 'node-a'));
    await world.pass(60_000);
    loseDriver('node-b');
    await world.pass(limitMs);
    world.api.before('get', 'Node', () => {
      world.api.erase('Node', 'node-b');
      world.api.put('Node', { ...aNode('node-b'), metadata: { name: 'node-b', uid: 'other' } });
    });
    await world.pass(60_000);
    expect(world.api.calls.filter(({ verb, kind }) => verb === 'get' && kind === 'Node')).toHaveLength(3);
    expect(writes()).toEqual([]);
  });

  it('is what the node’s process wrote in the same moment', async () => {
    await world.start();
    loseDriver();
    await world.pass(limitMs);
    world.api.before('patch', 'CSIStorageCapacity', () => {
      for (const className of ['fast', 'wait']) write('3Gi', className);
    });
    await world.pass(1);
    await world.pass(60_000);
    expect(told()).toEqual(['3Gi', '3Gi', undefined]);
    expect(writes()).toHaveLength(1);
    // nobody came all the same
    await world.pass(limitMs);
    expect(told()).toEqual(['0', '0', 'the driver has not been on this node for 10m']);
  });

  it('is none also where the API server failed in between, and two leaders write each object twice at most', async () => {
    await world.start();
    await world.start();
    loseDriver();
    await world.pass(limitMs);
    world.api.fail('patch', 'CSIStorageCapacity', new ApiError(500, 'InternalError', 'broken'));
    await world.pass(3_600_000);
    expect([told(), told('node-a', 'wait')]).toEqual([none, none]);
    expect(writes().length).toBeLessThanOrEqual(5);
    write('10Gi');
    write('7Gi', 'wait');
    regainDriver();
    await world.pass(3_600_000);
    expect(told()).toEqual(tenGi);
  });

  it('is no matter of ours where another driver or somebody else publishes it', async () => {
    const others = [
      { 'csi.storage.k8s.io/drivername': 'other.dev', 'csi.storage.k8s.io/managed-by': 'loam' },
      {
        'csi.storage.k8s.io/drivername': 'loam.dev',
        'csi.storage.k8s.io/managed-by': 'external-provisioner',
      },
      { 'csi.storage.k8s.io/drivername': 'loam.dev' },
    ];
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'x', uid: 'x' }, provisioner: 'other.dev' }),
    );
    others.forEach((labels, index) => {
      const object = aCapacity('node-a', `x-${index}`, '1Gi');
      object.metadata.labels = { ...labels, 'loam.dev/node': 'node-a' };
      world.api.put('CSIStorageCapacity', object);
    });
    await world.start();
    loseDriver();
    await world.pass(2 * limitMs);
    expect(told()).toEqual(none);
    expect(
      writes()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['csisc-fast-node-a', 'csisc-wait-node-a']);
  });

  it('is not written where it is none already, and is where only one of its two numbers is', async () => {
    write('0');
    world.api.edit(
      'CSIStorageCapacity',
      'loam/csisc-wait-node-a',
      (found) => void (found.maximumVolumeSize = '0'),
    );
    await world.start();
    loseDriver();
    await world.pass(2 * limitMs);
    expect(told()).toEqual(['0', '0', undefined]);
    expect(told('node-a', 'wait')).toEqual(none);
    expect(writes()).toHaveLength(1);
  });

  it('keeps claims away from the node, and brings them there when it is back', async () => {
    await world.start();
    loseDriver();
    await world.pass(2 * limitMs);
    world.publish('node-b', '1Gi');
    world.claim('data', { resources: { requests: { storage: '5Gi' } } });
    await world.pass(10_000);
    expect(world.nodeOf()).toBeUndefined();
    regainDriver();
    write('10Gi');
    await world.pass(10_000);
    expect(world.nodeOf()).toBe('node-a');
  });
});
