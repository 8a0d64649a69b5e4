import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

function editVolume(change: (volume: PersistentVolume) => void): void {
  world.api.edit('PersistentVolume', 'pvc-uid-1', change);
}

const mark = (): string | undefined => world.volume()?.metadata.annotations?.[annotations.reclaiming];

describe('reclaiming', () => {
  it('marks, looks, destroys, and lets the PV go, each once', async () => {
    await world.start();
    await world.bound();
    world.api.calls.length = 0;
    world.deleteClaim();
    await world.pass(0);
    world.expectNothingLeft();
    const order = world.api.calls
      .filter(({ kind }) => kind.startsWith('PersistentVolume'))
      .map(({ verb, kind }) => `${verb} ${kind}`);
    expect(order).toEqual([
      'patch PersistentVolume',
      'get PersistentVolumeClaim',
      'get PersistentVolume',
      'remove PersistentVolume',
      'patch PersistentVolume',
    ]);
    expect(world.driver.deletes).toEqual([
      {
        volumeId: 'pvc-uid-1',
        volumeContext: expect.objectContaining({ 'loam.dev/pool-uuid': 'pool-1' }) as object,
      },
    ]);
    expect(world.counted).toContain('controller_persistentvolume_delete_total');
    expect(world.events().join()).not.toMatch(/VolumeFailedDelete/);
  });

  it('is done with a PV that another finalizer still holds', async () => {
    await world.start();
    await world.bound();
    editVolume((volume) => volume.metadata.finalizers?.push('kubernetes.io/pv-protection'));
    world.deleteClaim();
    await world.pass(60 * 60_000);
    expect(world.volume()?.metadata.finalizers).toEqual(['kubernetes.io/pv-protection']);
    expect(world.driver.deletes).toHaveLength(1);
    const calls = world.api.calls.length;
    editVolume((volume) => void (volume.metadata.finalizers = []));
    await world.pass(0);
    expect(world.volume()).toBeUndefined();
    expect(world.api.calls.length).toBe(calls);
  });

  it('takes what it hears of a PV afterwards for old news', async () => {
    await world.start();
    await world.bound();
    world.api.before('remove', 'PersistentVolume', () => world.api.goDeaf());
    world.api.calls.length = 0;
    world.deleteClaim();
    await world.pass(100);
    world.expectNothingLeft();
    expect(world.callsOf('PersistentVolume')).toEqual([
      'patch pvc-uid-1',
      'get pvc-uid-1',
      'remove pvc-uid-1',
      'patch pvc-uid-1',
    ]);
  });

  it('does not delete a PV that took the name of the one that it judged', async () => {
    await world.start();
    await world.bound();
    world.api.before('remove', 'PersistentVolume', () => {
      editVolume((volume) => void (volume.metadata.finalizers = []));
      world.api.erase('PersistentVolume', 'pvc-uid-1');
      world.api.put('PersistentVolume', aPersistentVolume({ metadata: { uid: 'another' } }));
    });
    world.deleteClaim();
    await world.pass(10_000);
    expect(world.volume()?.metadata).toMatchObject({
      uid: 'another',
      finalizers: [annotations.provisionerFinalizer],
    });
    expect(world.volume()?.metadata.deletionTimestamp).toBeUndefined();
  });

  it('leaves data and PV of policy Retain, and takes the finalizer off', async () => {
    await world.start();
    await world.bound();
    editVolume((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain'));
    await world.pass(0);
    expect(world.volume()?.metadata.finalizers).toEqual([]);
    world.deleteClaim();
    await world.pass(60 * 60_000);
    expect(world.volume()?.status?.phase).toBe('Released');
    expect(world.driver.deletes).toEqual([]);
  });

  it('gives a static PV of our driver the finalizer, and reclaims it', async () => {
    await world.start();
    world.api.put('PersistentVolumeClaim', aClaim({ spec: { volumeName: 'static-1' } }));
    const csi = { driver: 'loam.dev', volumeHandle: 'adopted' };
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'static-1', annotations: {}, finalizers: ['x/y'] },
        spec: { csi },
      }),
    );
    await world.pass(0);
    expect(world.volume('static-1')?.metadata.finalizers).toEqual(['x/y', annotations.provisionerFinalizer]);
    world.deleteClaim();
    await world.pass(0);
    expect(world.driver.deletes).toEqual([{ volumeId: 'adopted', volumeContext: {} }]);
    expect(world.volume('static-1')?.metadata.finalizers).toEqual(['x/y']);
  });

  it('takes a Failed PV whose claim is verifiably gone', async () => {
    await world.start();
    await world.bound();
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    editVolume((volume) => void (volume.status = { phase: 'Failed' }));
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('holds a PV that was deleted before its claim until the claim goes', async () => {
    await world.start();
    await world.bound();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    await world.pass(60_000);
    expect(world.driver.deletes).toEqual([]);
    world.deleteClaim();
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('touches no PV of another node or driver', async () => {
    await world.start();
    const nodeAffinity = {
      required: {
        nodeSelectorTerms: [
          { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: ['node-b'] }] },
        ],
      },
    };
    const released = { phase: 'Released' as const };
    world.api.put('PersistentVolume', aPersistentVolume({ spec: { nodeAffinity }, status: released }));
    const csi = { driver: 'other', volumeHandle: 'x' };
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({ metadata: { name: 'b', annotations: {} }, spec: { csi }, status: released }),
    );
    await world.pass(60 * 60_000);
    expect(world.callsOf('PersistentVolume')).toEqual([]);
    expect(world.driver.deletes).toEqual([]);
  });
});

describe('a claim that is not gone', () => {
  it('saves its volume at the last look, and the mark goes', async () => {
    await world.start();
    await world.bound();
    // kube-controller-manager was wrong, or late: the claim is there when asked live
    world.api.before('get', 'PersistentVolumeClaim', () => {
      world.api.put('PersistentVolumeClaim', aClaim({ spec: { volumeName: 'pvc-uid-1' } }));
    });
    world.deleteClaim();
    await world.pass(0);
    expect(world.driver.deletes).toEqual([]);
    expect(mark()).toBeUndefined();
    expect(world.volume()?.metadata.deletionTimestamp).toBeUndefined();
  });

  it('is asked for in the store before anything is written', async () => {
    await world.start();
    await world.bound();
    world.api.calls.length = 0;
    editVolume((volume) => void (volume.status = { phase: 'Released' }));
    await world.pass(0);
    expect(world.callsOf('PersistentVolume')).toEqual([]);
    expect(world.driver.deletes).toEqual([]);
  });

  it('and bound elsewhere lets a volume go that nobody ever used', async () => {
    await world.start();
    await world.bound();
    world.driver.unused.add('pvc-uid-1');
    world.api.edit(
      'PersistentVolumeClaim',
      'shop/data',
      (claim) => void (claim.spec.volumeName = 'static-1'),
    );
    editVolume((volume) => void (volume.status = { phase: 'Released' }));
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('and bound elsewhere keeps the volume with an event, until it goes', async () => {
    await world.start();
    await world.bound();
    world.api.edit(
      'PersistentVolumeClaim',
      'shop/data',
      (claim) => void (claim.spec.volumeName = 'static-1'),
    );
    editVolume((volume) => void (volume.status = { phase: 'Released' }));
    await world.pass(30_000);
    expect(world.events().filter((event) => event.includes('VolumeFailedDelete'))).toEqual([
      'Warning VolumeFailedDelete: claim shop/data is alive and bound elsewhere, to static-1; delete the claim to have this volume reclaimed',
    ]);
    expect(world.driver.deletes).toEqual([]);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('but newer does not save the volume of an older one', async () => {
    await world.start();
    await world.bound();
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    world.claim({ metadata: { uid: 'uid-2', annotations: { [annotations.selectedNode]: 'node-b' } } });
    world.release();
    await world.pass(0);
    world.expectNothingLeft();
  });
});

describe('data that another PV has too', () => {
  it('is left until the other is gone', async () => {
    await world.start();
    await world.bound();
    const csi = world.volume()?.spec.csi;
    if (csi === undefined) throw new Error('no CSI source');
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'restored', uid: 'pv-2', finalizers: [] },
        spec: { csi, claimRef: { name: 'b', namespace: 'shop', uid: 'uid-b' } },
      }),
    );
    world.deleteClaim();
    world.api.edit('PersistentVolume', 'restored', (volume) => void (volume.status = { phase: 'Bound' }));
    await world.pass(60_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.events().join()).toMatch(/PersistentVolume restored has the same data/);
    world.api.edit('PersistentVolume', 'restored', (volume) => void (volume.metadata.finalizers = []));
    world.api.erase('PersistentVolume', 'restored');
    await world.pass(0);
    world.expectNothingLeft();
  });
});

describe('a policy that changes', () => {
  it('before the mark is put is noticed by its version', async () => {
    await world.start();
    await world.bound();
    world.api.before('patch', 'PersistentVolume', () =>
      editVolume((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain')),
    );
    world.deleteClaim();
    await world.pass(60_000);
    expect(world.driver.deletes).toEqual([]);
    // the mark was refused: one that was put would have had to be taken off again
    const marks = world.api.calls.filter(({ body }) =>
      JSON.stringify(body ?? '').includes(annotations.reclaiming),
    );
    expect(marks).toHaveLength(1);
    expect(mark()).toBeUndefined();
    expect(world.volume()?.metadata.finalizers).toEqual([]);
  });

  it('while the volume is in use is read again before the next try', async () => {
    await world.start();
    await world.bound();
    world.driver.inUse.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(0);
    expect(mark()).toBe('uid-1');
    editVolume((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain'));
    world.driver.inUse.clear();
    await world.pass(60_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    expect(mark()).toBeUndefined();
  });
});
