import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const scoped = { scoped: true };

describe('the labels that scoped nodes watch by', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.addNodes({ 'node-a': '10Gi', 'node-b': '10Gi' });
  });
  afterEach(() => world.end());
  const labelsOf = (name = 'data') =>
    world.api.peek('PersistentVolumeClaim', `shop/${name}`)?.metadata.labels;
  const patches = () => world.api.calls.filter(({ verb }) => verb === 'patch').map(({ body }) => body);
  const waiting = { storageClassName: 'wait' };

  it('follow the selected node of a claim whose first pod chooses, with one patch each', async () => {
    await world.start(scoped);
    const claim = world.claim('data', waiting, 'node-a', true);
    await world.pass(0);
    expect(patches()).toEqual([
      {
        metadata: {
          resourceVersion: claim.metadata.resourceVersion,
          labels: { 'loam.dev/node': 'node-a' },
        },
      },
    ]);
    world.select('data', 'node-b');
    await world.pass(0);
    expect(labelsOf()).toEqual({ 'loam.dev/node': 'node-b' });
    world.select('data', undefined);
    await world.pass(0);
    expect(labelsOf()).toEqual({});
    expect(patches()).toHaveLength(3);
  });

  it('come back when somebody takes them off or changes them, on bound claims and PVs too', async () => {
    await world.start(scoped);
    world.claim('data', { ...waiting, volumeName: 'pvc-uid-1' }, 'node-a');
    world.api.put('PersistentVolume', aPersistentVolume());
    await world.pass(0);
    const labelOf = () => world.api.peek('PersistentVolume', 'pvc-uid-1')?.metadata.labels;
    expect([labelsOf(), labelOf()]).toEqual([{ 'loam.dev/node': 'node-a' }, { 'loam.dev/node': 'node-a' }]);
    for (const labels of [{ app: 'shop' }, { app: 'shop', 'loam.dev/node': 'node-b' }]) {
      world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => void (metadata.labels = labels));
      world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => void (metadata.labels = labels));
      await world.pass(0);
      const right = { app: 'shop', 'loam.dev/node': 'node-a' };
      expect([labelsOf(), labelOf()]).toEqual([right, right]);
    }
  });

  it('are written by a new leader only where they are not right', async () => {
    for (let index = 0; index < 20; index += 1) world.claim(`data-${index}`, waiting, 'node-a', true);
    world.api.put('PersistentVolume', aPersistentVolume());
    await world.start(scoped);
    expect(patches()).toHaveLength(21);
    await world.end();
    world.claim('new', waiting, 'node-b', true);
    world.api.calls.length = 0;
    await world.start(scoped);
    expect(patches()).toHaveLength(1);
    await world.pass(60 * 60_000);
    expect(patches()).toHaveLength(1);
  });

  it("are nothing that others' claims and PVs get", async () => {
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'x', uid: 'x' }, provisioner: 'other' }));
    await world.start(scoped);
    world.claim('data', { storageClassName: 'x' }, 'node-a');
    const csi = { driver: 'other', volumeHandle: 'v' };
    world.api.put('PersistentVolume', aPersistentVolume({ metadata: { annotations: {} }, spec: { csi } }));
    await world.pass(60_000);
    expect(patches()).toEqual([]);
  });

  it('wait for a class that comes late', async () => {
    await world.start(scoped);
    world.claim('data', { storageClassName: 'late', volumeName: 'pvc-uid-1' }, 'node-a');
    await world.pass(60_000);
    expect(labelsOf()).toBeUndefined();
    world.api.put('StorageClass', aStorageClass({ metadata: { name: 'late', uid: 'class-late' } }));
    await world.pass(0);
    expect(labelsOf()).toEqual({ 'loam.dev/node': 'node-a' });
  });

  it('are tried again where somebody was faster, and where the API server fails', async () => {
    await world.start(scoped);
    world.api.before('patch', 'PersistentVolumeClaim', () => world.select('data', 'node-b'));
    world.claim('data', waiting, 'node-a', true);
    await world.pass(1_000);
    expect(labelsOf()).toEqual({ 'loam.dev/node': 'node-b' });
    const error = new ApiError(500, 'InternalError', 'broken');
    world.api.fail('patch', 'PersistentVolumeClaim', error, { times: 3 });
    world.select('data', 'node-a');
    await world.pass(10_000);
    expect(labelsOf()).toEqual({ 'loam.dev/node': 'node-a' });
    expect(world.counted.filter((name) => name.startsWith('loam_labels_written_total'))).toHaveLength(2);
  });

  it('are nobody’s business where the nodes see everything', async () => {
    await world.start();
    world.claim('data', waiting, 'node-a', true);
    world.api.put('PersistentVolume', aPersistentVolume());
    await world.pass(60_000);
    expect(patches()).toEqual([]);
  });

  it('and the node of a claim that binds at once come after kube-controller-manager’s call, in one write', async () => {
    await world.start(scoped);
    world.claim();
    world.claim('later', waiting, 'node-a');
    await world.pass(60_000);
    expect(patches()).toEqual([]);
    expect(world.events()).toEqual([]);
    world.call();
    world.call('later');
    await world.pass(0);
    expect(patches()).toHaveLength(2);
    expect(world.nodeOf()).toBeDefined();
    expect(labelsOf()).toEqual({ 'loam.dev/node': world.nodeOf() });
    expect(labelsOf('later')).toEqual({ 'loam.dev/node': 'node-a' });
  });
});
