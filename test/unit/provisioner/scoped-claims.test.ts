import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { outsideMs } from '../../../src/provisioner/claim-reconciler.ts';
import { aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const labels = { 'loam.dev/node': 'node-a' };
const chosen = { 'volume.kubernetes.io/selected-node': 'node-a' };
/** as the scheduler and kube-controller-manager leave it */
const called = { ...chosen, 'volume.kubernetes.io/storage-provisioner': 'loam.dev' };

/** The stores hold only what has this node's label; a controller, or nobody, keeps it. */
describe('a claim before a scoped watch', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.end());
  const relabel = (label: Record<string, string>) =>
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => void (metadata.labels = label));
  const ready = (metadata: Partial<PersistentVolumeClaim['metadata']> = {}) =>
    world.claim({ metadata: { labels, annotations: called, ...metadata } });
  const listsOfVolumes = () =>
    world.api.calls.filter(({ verb, kind }) => verb === 'list' && kind === 'PersistentVolume').length;

  it('is served when it has its label, and not before', async () => {
    await world.start({ scoped: true });
    ready({ labels: {} });
    await world.pass(60_000);
    expect(world.driver.creates).toEqual([]);
    relabel({ 'loam.dev/node': 'node-b' });
    await world.pass(60_000);
    expect(world.driver.creates).toEqual([]);
    relabel(labels);
    await world.pass(0);
    world.expectProvisioned();
    // nothing was asked twice on the way
    expect(world.callsOf('PersistentVolumeClaim')).toEqual([]);
    expect(listsOfVolumes()).toBe(1);
  });

  it.each(['fast', 'now'])(
    'waits for kube-controller-manager, which sees all volumes (class %s)',
    async (storageClassName) => {
      const metadata = { name: 'now', uid: 'class-now' };
      world.api.put('StorageClass', aStorageClass({ metadata, volumeBindingMode: 'Immediate' }));
      await world.start({ scoped: true });
      world.claim({ metadata: { labels, annotations: chosen }, spec: { storageClassName } });
      await world.pass(60_000);
      expect(world.driver.creates).toEqual([]);
      world.api.edit(
        'PersistentVolumeClaim',
        'shop/data',
        ({ metadata }) => void (metadata.annotations = called),
      );
      await world.pass(0);
      world.expectProvisioned();
    },
  );

  it('keeps its volume when the label goes while it is made', async () => {
    await world.start({ scoped: true });
    const gate = Promise.withResolvers<void>();
    world.driver.afterCreate = async (made) => {
      await gate.promise;
      return made;
    };
    ready();
    await world.pass(0);
    relabel({});
    await world.pass(5_000);
    gate.resolve();
    await world.pass(0);
    world.expectProvisioned();
    expect(world.driver.creates).toHaveLength(1);
    expect(world.driver.deletes).toEqual([]);
  });

  it('is tried on when the label goes between two attempts', async () => {
    await world.start({ scoped: true });
    let isBusy = true;
    world.driver.afterCreate = (made) => {
      if (isBusy) throw new CsiError('ABORTED', 'still at it');
      return made;
    };
    ready();
    await world.pass(0);
    relabel({});
    await world.pass(2_000);
    expect(world.driver.deletes).toEqual([]);
    isBusy = false;
    await world.pass(60_000);
    world.expectProvisioned();
  });

  it('is undone when it is gone, or gone elsewhere, outside the watch', async () => {
    for (const end of [
      () => world.api.erase('PersistentVolumeClaim', 'shop/data'),
      () =>
        world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => {
          metadata.annotations = { ...called, 'volume.kubernetes.io/selected-node': 'node-b' };
        }),
    ]) {
      world = new World();
      await world.start({ scoped: true });
      // the PV cannot be written, so that the claim waits with a volume
      world.driver.afterCreate = () => Promise.reject(new CsiError('ABORTED', 'still at it'));
      ready();
      await world.pass(0);
      relabel({});
      await world.pass(0);
      expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
      end();
      await world.pass(5 * 60_000);
      world.expectNothingLeft();
      await world.end();
    }
  });

  it('that nothing more can be done for is asked about again, while something is begun for it', async () => {
    // begun by a process that is dead, and its class is gone: neither ours nor anybody's
    const dying = await world.start({ scoped: true }, { isMortal: true });
    world.driver.afterCreate = () => new Promise(() => {});
    ready();
    await world.pass(0);
    void dying.stop();
    world.driver.afterCreate = undefined;
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => {
      metadata.labels = {};
      metadata.annotations = chosen;
    });
    await world.start({ scoped: true });
    await world.pass(3 * outsideMs);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    const asked = world.callsOf('PersistentVolumeClaim').length;
    expect(asked).toBeGreaterThanOrEqual(3);
    expect(asked).toBeLessThanOrEqual(5);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(outsideMs);
    world.expectNothingLeft();
  });

  it('that is bound and loses its label keeps everything', async () => {
    await world.start({ scoped: true });
    ready();
    await world.pass(0);
    world.bind();
    await world.pass(0);
    world.api.calls.length = 0;
    relabel({});
    await world.pass(20 * 60_000);
    relabel(labels);
    await world.pass(20 * 60_000);
    world.expectProvisioned();
    expect(world.driver.deletes).toEqual([]);
    expect(world.callsOf('PersistentVolume')).toEqual([]);
  });

  it('is given back with its label, and is no more in the store', async () => {
    await world.start({ scoped: true });
    world.driver.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'the pool is full');
    };
    ready();
    await world.pass(10 * 60_000);
    const { metadata } = world.api.peek('PersistentVolumeClaim', 'shop/data') ?? {};
    expect([metadata?.labels, metadata?.annotations]).toEqual([
      {},
      { 'volume.kubernetes.io/storage-provisioner': 'loam.dev' },
    ]);
    expect(world.driver.creates).toHaveLength(1);
    world.expectNothingLeft();
  });

  it('that is gone leaves a volume which a PV without the label stands for', async () => {
    const dying = await world.start({ scoped: true }, { isMortal: true });
    world.driver.afterCreate = () => new Promise(() => {});
    ready();
    await world.pass(0);
    void dying.stop();
    world.driver.afterCreate = undefined;
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    const byHand = { name: 'by-hand', uid: 'pv-2', annotations: {}, finalizers: [] };
    world.api.put('PersistentVolume', aPersistentVolume({ metadata: byHand }));
    await world.start({ scoped: true });
    await world.pass(10 * 60_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    expect(world.driver.deletes).toEqual([]);
    // it has a PV: that is noted for good
    expect(world.driver.unacknowledged()).toEqual([]);
  });
});
