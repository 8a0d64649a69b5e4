import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const labels = { 'loam.dev/node': 'node-a' };
const called = {
  'volume.kubernetes.io/selected-node': 'node-a',
  'volume.kubernetes.io/storage-provisioner': 'loam.dev',
};

describe('a PV before a scoped watch', () => {
  let world: World;
  beforeEach(async () => {
    world = new World();
    await world.start({ scoped: true });
  });
  afterEach(() => world.end());
  const editVolume = (change: (volume: PersistentVolume) => void) =>
    world.api.edit('PersistentVolume', 'pvc-uid-1', change);
  const relabel = (label: Record<string, string>) =>
    editVolume(({ metadata }) => void (metadata.labels = label));
  const bound = async () => {
    world.claim({ metadata: { labels, annotations: called } });
    await world.pass(0);
    world.bind();
    await world.pass(0);
  };
  const byHand = (metadata: Partial<PersistentVolume['metadata']> = {}) =>
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'by-hand', uid: 'pv-2', annotations: {}, finalizers: [], ...metadata },
        spec: {
          persistentVolumeReclaimPolicy: 'Retain',
          claimRef: { namespace: 'shop', name: 'rescue', uid: 'uid-rescue' },
        },
      }),
    );
  const listsOfVolumes = () =>
    world.api.calls.filter(({ verb, kind }) => verb === 'list' && kind === 'PersistentVolume').length;

  it('is reclaimed after one look for others over the same data and two at its claim', async () => {
    await bound();
    world.api.calls.length = 0;
    world.deleteClaim();
    await world.pass(0);
    world.expectNothingLeft();
    const order = world.api.calls
      .filter(({ kind }) => kind.startsWith('PersistentVolume'))
      .map(({ verb, kind }) => `${verb} ${kind}`);
    expect(order).toEqual([
      'list PersistentVolume',
      'get PersistentVolumeClaim',
      'patch PersistentVolume',
      'get PersistentVolumeClaim',
      'get PersistentVolume',
      'remove PersistentVolume',
      'patch PersistentVolume',
    ]);
  });

  it('that loses its label is left alone, and gone on with when it is back', async () => {
    await bound();
    relabel({});
    await world.pass(60_000);
    world.deleteClaim();
    await world.pass(60 * 60_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.volume()?.metadata.annotations?.[annotations.reclaiming]).toBeUndefined();
    relabel(labels);
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('that loses its label while its data goes is finished when it is back', async () => {
    await bound();
    world.driver.removing.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(0);
    expect(world.driver.deletes).not.toEqual([]);
    relabel({});
    await world.pass(60_000);
    world.driver.finishRemoval('pvc-uid-1');
    await world.pass(60_000);
    expect(world.volume()).toBeDefined();
    relabel(labels);
    await world.pass(0);
    world.expectNothingLeft();
  });

  it.each([
    ['without a label', {}],
    ['with the label', labels],
  ])('keeps its data while a PV %s stands for it', async (_, label) => {
    await bound();
    byHand({ labels: label });
    world.api.calls.length = 0;
    world.deleteClaim();
    await world.pass(60_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.events().join()).toContain('PersistentVolume by-hand has the same data');
    // told, and not told again and again
    expect(world.callsOf('PersistentVolume')).toEqual([]);
    expect(listsOfVolumes()).toBeLessThan(10);
    world.api.erase('PersistentVolume', 'by-hand');
    await world.pass(5 * 60_000);
    world.expectNothingLeft();
  });

  it('keeps its data while nobody can say which PVs there are', async () => {
    await bound();
    world.api.fail('list', 'PersistentVolume', new ApiUnreachable('no answer'), { times: 3 });
    world.deleteClaim();
    await world.pass(1_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.volume()?.metadata.annotations?.[annotations.reclaiming]).toBeUndefined();
    await world.pass(60_000);
    world.expectNothingLeft();
  });

  it('whose claim lives without a label is not marked over and over', async () => {
    await bound();
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => void (metadata.labels = {}));
    world.api.calls.length = 0;
    // whoever wrote this was wrong, or early
    editVolume((volume) => void (volume.status = { phase: 'Released' }));
    await world.pass(30_000);
    expect(world.callsOf('PersistentVolume')).toEqual([]);
    expect(world.callsOf('PersistentVolumeClaim').length).toBeLessThan(10);
    expect(world.driver.deletes).toEqual([]);
  });

  it('asks once for many that go together', async () => {
    const count = 30;
    for (let index = 0; index < count; index += 1) {
      const name = `data-${index}`;
      world.claim({ metadata: { name, uid: `uid-${index}`, labels, annotations: called } });
    }
    await world.pass(0);
    world.bind();
    await world.pass(0);
    world.api.calls.length = 0;
    for (let index = 0; index < count; index += 1)
      world.api.erase('PersistentVolumeClaim', `shop/data-${index}`);
    world.release();
    await world.pass(0);
    expect(world.driver.volumes.size).toBe(0);
    expect(listsOfVolumes()).toBeLessThan(count / 2);
  });

  it('of an admin gets its finalizer and its end once it has its label', async () => {
    world.driver.make({
      name: 'adopted',
      capacityRange: { requiredBytes: 1n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
      accessibility: { requisite: [], preferred: [] },
    });
    await world.driver.acknowledge('adopted');
    // bound without a node having been selected, so that the claim never has a label
    const claim = aClaim({ metadata: { name: 'old', uid: 'uid-old', annotations: {} } });
    claim.spec.volumeName = 'pvc-uid-1';
    world.api.put('PersistentVolumeClaim', { ...claim, status: { phase: 'Bound' } });
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { annotations: {}, finalizers: [] },
        spec: {
          claimRef: { namespace: 'shop', name: 'old', uid: 'uid-old' },
          csi: {
            driver: 'loam.dev',
            volumeHandle: 'adopted',
            volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
          },
        },
      }),
    );
    await world.pass(60_000);
    expect(world.volume()?.metadata.finalizers).toEqual([]);
    relabel(labels);
    await world.pass(0);
    expect(world.volume()?.metadata.finalizers).toEqual([annotations.provisionerFinalizer]);
    world.api.erase('PersistentVolumeClaim', 'shop/old');
    world.release();
    await world.pass(0);
    world.expectNothingLeft();
  });
});
