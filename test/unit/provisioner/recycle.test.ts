import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
  world.api.erase('StorageClass', 'fast');
  world.api.put(
    'StorageClass',
    aStorageClass({ parameters: { onRelease: 'recycle' }, reclaimPolicy: 'Retain' }),
  );
});
afterEach(() => world.end());

function editVolume(change: (volume: PersistentVolume) => void): void {
  world.api.edit('PersistentVolume', 'pvc-uid-1', change);
}

const noteOf = (key: string): string | undefined => world.volume()?.metadata.annotations?.[key];
const said = (reason: string): string[] => world.events().filter((event) => event.includes(` ${reason}: `));

/** kube-controller-manager asks, since such a class is never taken early. */
async function bound(): Promise<void> {
  const asked = {
    [annotations.selectedNode]: 'node-a',
    [annotations.storageProvisioner]: 'loam.dev',
  };
  world.claim({ metadata: { annotations: asked } });
  await world.pass(0);
  world.bind();
  await world.pass(0);
  expect(world.volume()?.status?.phase).toBe('Bound');
}

describe('recycling', () => {
  it('marks, looks twice, empties, and offers the PV in one write', async () => {
    await world.start();
    await bound();
    editVolume(({ metadata }) => {
      metadata.annotations = {
        ...metadata.annotations,
        [annotations.boundByController]: 'yes',
        [annotations.preResizeCapacity]: '1Gi',
      };
    });
    await world.pass(0);
    world.api.calls.length = 0;
    world.deleteClaim();
    await world.pass(0);
    const writes = world.api.calls.filter(({ kind }) => kind.startsWith('PersistentVolume'));
    expect(writes.map(({ verb, kind }) => `${verb} ${kind}`)).toEqual([
      'patch PersistentVolume',
      'get PersistentVolumeClaim',
      'get PersistentVolume',
      'patch PersistentVolume',
    ]);
    expect(writes.at(-1)?.body).toMatchObject({
      metadata: { resourceVersion: expect.any(String) as string },
    });
    expect(world.driver.recycles).toEqual([{ volumeId: 'pvc-uid-1', poolUuid: 'pool-1' }]);
    expect(world.volume()?.spec.claimRef).toBeUndefined();
    expect(world.volume()?.metadata.annotations).toEqual({
      [annotations.provisionedBy]: 'loam.dev',
      [annotations.deletionSecretName]: '',
      [annotations.deletionSecretNamespace]: '',
      [annotations.onRelease]: 'recycle',
      [annotations.recycled]: new Date(world.clock.nowMs()).toISOString(),
    });
    expect(said('VolumeRecycled')).toEqual([
      'Normal VolumeRecycled: emptied after claim shop/data, and offered to the next claim that it fits',
    ]);
    expect(world.counted).toContain('loam_volume_recycle_total');
    expect(world.driver.deletes).toEqual([]);
  });

  it('serves a static PV of policy Recycle that kube-controller-manager has marked Failed', async () => {
    await world.start();
    await bound();
    editVolume(({ metadata, spec }) => {
      spec.persistentVolumeReclaimPolicy = 'Recycle';
      metadata.annotations = {};
    });
    await world.pass(0);
    expect(world.volume()?.spec.persistentVolumeReclaimPolicy).toBe('Recycle');
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    editVolume((volume) => void (volume.status = { phase: 'Failed' }));
    await world.pass(0);
    expect(said('RecycleAdopted')).toHaveLength(1);
    expect(world.volume()).toMatchObject({
      metadata: { annotations: { [annotations.onRelease]: 'recycle' } },
      spec: { persistentVolumeReclaimPolicy: 'Retain' },
    });
    expect(world.volume()?.spec.claimRef).toBeUndefined();
    expect(world.driver.recycles).toHaveLength(1);
  });

  it('becomes deleting when a person turns a Failed PV of policy Recycle to Delete', async () => {
    await world.start();
    await bound();
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    editVolume((volume) => {
      volume.spec.persistentVolumeReclaimPolicy = 'Delete';
      volume.status = { phase: 'Failed' };
    });
    await world.pass(0);
    expect(world.driver.recycles).toEqual([]);
    world.expectNothingLeft();
  });

  it('waits for a volume in use, silently for half a minute, and goes on when it is let go', async () => {
    await world.start();
    await bound();
    world.driver.inUse.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(29_000);
    expect(said('VolumeFailedRecycle')).toEqual([]);
    await world.pass(5_000);
    expect(said('VolumeFailedRecycle').join()).toMatch(/is mounted/);
    expect(world.volume()?.spec.claimRef).toBeDefined();
    world.driver.inUse.clear();
    world.driver.released.tell('pvc-uid-1');
    await world.pass(0);
    expect(world.volume()?.spec.claimRef).toBeUndefined();
  });

  it('goes on when the old bytes are gone', async () => {
    await world.start();
    await bound();
    world.driver.removing.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(3 * 60_000);
    expect(noteOf(annotations.reclaiming)).toBe('uid-1');
    expect(said('VolumeFailedRecycle')).toEqual([]);
    world.driver.finishRemoval('pvc-uid-1');
    await world.pass(0);
    expect(world.volume()?.spec.claimRef).toBeUndefined();
    expect(noteOf(annotations.reclaiming)).toBeUndefined();
  });

  it('tells of a failure, and tries again with back-off', async () => {
    await world.start();
    await bound();
    world.driver.onRecycle = () => {
      throw new CsiError('INTERNAL', 'the disk does not answer');
    };
    world.deleteClaim();
    await world.pass(60_000);
    expect(said('VolumeFailedRecycle').join()).toMatch(/the disk does not answer/);
    expect(world.counted).toContain('loam_volume_recycle_failed_total');
    world.driver.onRecycle = undefined;
    await world.pass(5 * 60_000);
    expect(world.volume()?.spec.claimRef).toBeUndefined();
  });

  it('does not happen while the claim is there when asked live', async () => {
    await world.start();
    await bound();
    world.api.before('get', 'PersistentVolumeClaim', () =>
      world.claim({ spec: { volumeName: 'pvc-uid-1' } }),
    );
    world.deleteClaim();
    await world.pass(0);
    expect(world.driver.recycles).toEqual([]);
    expect(noteOf(annotations.reclaiming)).toBeUndefined();
  });

  it('happens on request to a PV that was kept', async () => {
    await world.start();
    await bound();
    editVolume((volume) => void delete volume.metadata.annotations?.[annotations.onRelease]);
    world.deleteClaim();
    await world.pass(60_000);
    expect(world.driver.recycles).toEqual([]);
    editVolume(({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, [annotations.onRelease]: 'recycle' };
    });
    await world.pass(0);
    expect(world.volume()?.spec.claimRef).toBeUndefined();
  });

  it('leaves a PV that is being deleted: its data is kept, as Retain says', async () => {
    await world.start();
    await bound();
    editVolume((volume) => void (volume.metadata.finalizers = ['kubernetes.io/pv-protection']));
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    world.deleteClaim();
    await world.pass(60_000);
    expect(world.driver.recycles).toEqual([]);
    expect(world.driver.volumes.size).toBe(1);
  });

  it('goes on with a process that starts after a crash at any call', async () => {
    for (const dies of ['patch', 'get', 'recycle', 'offer']) {
      const again = new World();
      again.api.erase('StorageClass', 'fast');
      again.api.put(
        'StorageClass',
        aStorageClass({ parameters: { onRelease: 'recycle' }, reclaimPolicy: 'Retain' }),
      );
      world = again;
      const first = await world.start({}, { isMortal: true });
      await bound();
      const stop = (): void => void first.stop();
      if (dies === 'recycle') world.driver.onRecycle = stop;
      else if (dies === 'offer')
        world.driver.onRecycle = () => world.api.before('patch', 'PersistentVolume', stop);
      else world.api.before(dies === 'patch' ? 'patch' : 'get', 'PersistentVolume', stop);
      world.deleteClaim();
      await world.pass(0);
      world.driver.onRecycle = undefined;
      await world.start();
      await world.pass(10_000);
      expect(world.volume()?.spec.claimRef, dies).toBeUndefined();
      expect(noteOf(annotations.reclaiming), dies).toBeUndefined();
      await world.end();
    }
  });
});

describe('a claim with a data source', () => {
  it('that Kubernetes has bound to a recycled volume is told that it began empty', async () => {
    await world.start();
    await bound();
    world.deleteClaim();
    await world.pass(0);
    const dataSource = { kind: 'PersistentVolumeClaim', name: 'original' };
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'copy', uid: 'uid-2' },
        spec: { dataSource, volumeName: 'pvc-uid-1' },
        status: { phase: 'Bound' },
      }),
    );
    editVolume((volume) => {
      volume.spec.claimRef = { namespace: 'shop', name: 'copy', uid: 'uid-2' };
      volume.status = { phase: 'Bound' };
    });
    await world.pass(0);
    expect(said('DataSourceIgnored')).toEqual([
      'Warning DataSourceIgnored: the claim asks for a copy of PersistentVolumeClaim original, but Kubernetes bound it to the recycled PersistentVolume pvc-uid-1, which began empty; make the claim in a class without onRelease: recycle',
    ]);
  });
});
