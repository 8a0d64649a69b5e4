import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { metadataKeys } from '../../../src/model/class-parameters.ts';
import type { CreateVolumeRequest } from '../../../src/model/csi-driver.ts';
import { aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { Life } from './life.ts';
import { World } from './world.ts';

const GiB = 1n << 30n;

let world: World;
beforeEach(() => {
  world = new World();
  world.api.erase('StorageClass', 'fast');
  world.api.put('StorageClass', aStorageClass({ parameters: { adopt: 'by-name', retainFor: '24h' } }));
});
afterEach(() => world.end());

/** A volume that a cluster left on the disk, for claim shop/data. */
async function leave(
  id = 'pvc-old',
  clusterUid = 'cluster-0',
  sizeBytes = GiB,
  claimName = 'data',
): Promise<void> {
  const request: CreateVolumeRequest = {
    name: id,
    capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n },
    capabilities: [
      { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'mount', fsType: '', mountFlags: [] } },
    ],
    parameters: {
      adopt: 'by-name',
      [metadataKeys.claimNamespace]: 'shop',
      [metadataKeys.claimName]: claimName,
      [metadataKeys.claimUid]: `uid-of-${id}`,
      [metadataKeys.clusterUid]: clusterUid,
      [metadataKeys.className]: 'fast',
    },
  };
  world.driver.make(request);
  await world.driver.acknowledge(id);
}

const offered = () => world.volume('adopted-pvc-old');

describe('volumes of another cluster', () => {
  it('are offered by name at the start, and their records become ours', async () => {
    await leave();
    await world.start();
    expect(offered()).toMatchObject({
      metadata: {
        labels: { 'loam.dev/node': 'node-a' },
        annotations: { 'loam.dev/adopted': 'by-name', 'loam.dev/retain-for': '24h' },
      },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1Gi' },
        storageClassName: 'fast',
        persistentVolumeReclaimPolicy: 'Delete',
        csi: {
          driver: 'loam.dev',
          volumeHandle: 'pvc-old',
          volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
        },
      },
    });
    expect(offered()?.spec.claimRef).toEqual({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      namespace: 'shop',
      name: 'data',
    });
    expect(offered()?.metadata.annotations).not.toHaveProperty('pv.kubernetes.io/provisioned-by');
    // it comes with the binding: an offer can be taken back
    expect(offered()?.metadata.finalizers ?? []).toEqual([]);
    expect(world.driver.held()).toMatchObject([{ clusterUid: 'cluster-1', className: 'fast' }]);
    expect(world.counted).toContain('loam_adoptions_total');
  });

  it('are offered by the hundred at the cost of a few looks at all PVs', async () => {
    for (let index = 0; index < 150; index += 1)
      await leave(`pvc-${index}`, 'cluster-0', GiB, `data-${index}`);
    world.api.calls.length = 0;
    await world.start();
    await world.pass(0);
    const adopted = world.api.all('PersistentVolume');
    expect(new Set(adopted.map(({ spec }) => spec.claimRef?.name)).size).toBe(150);
    const looks = world.api.calls.filter(({ verb, kind }) => verb === 'list' && kind === 'PersistentVolume');
    // the watch's own is among them
    expect(looks.length).toBeLessThan(8);
  });

  it('of which one cannot be offered keep no other one waiting', async () => {
    for (const name of ['a', 'b', 'c']) await leave(`pvc-${name}`, 'cluster-0', GiB, name);
    const stranger = aPersistentVolume({ metadata: { name: 'adopted-pvc-a' } });
    world.api.put('PersistentVolume', stranger);
    await world.start();
    expect(world.volume('adopted-pvc-b')?.spec.claimRef?.name).toBe('b');
    expect(world.volume('adopted-pvc-c')?.spec.claimRef?.name).toBe('c');
  });

  it('are offered once the class is there', async () => {
    world.api.erase('StorageClass', 'fast');
    await leave();
    await world.start();
    expect(offered()).toBeUndefined();
    world.api.put('StorageClass', aStorageClass({ parameters: { adopt: 'by-name' } }));
    await world.pass(50);
    expect(offered()).toBeDefined();
  });

  it('are kept from nobody by an empty volume for the claim, however it is asked for', async () => {
    await leave();
    await world.start();
    const asked = { 'volume.kubernetes.io/storage-provisioner': 'loam.dev' };
    const here = { 'volume.kubernetes.io/selected-node': 'node-a' };
    world.claim({ metadata: { annotations: { ...asked, ...here } } });
    await world.pass(60_000);
    expect(world.volume()).toBeUndefined();
    expect(world.driver.creates).toEqual([]);
  });

  it('tell a claim that asks for more how it gets on', async () => {
    await leave();
    await world.start();
    world.claim({ spec: { resources: { requests: { storage: '10Gi' } } } });
    await world.pass(20_000);
    expect(world.driver.creates).toEqual([]);
    expect(world.events().join('\n')).toMatch(
      /Warning AdoptionMisfit: .*asks for 10 GiB, the volume has 1 GiB.*delete claim shop\/data .*kubectl delete pv adopted-pvc-old.*gc --remove pvc-old/,
    );
  });

  it('whose claim asks for more than anybody can count keep no other claim waiting', async () => {
    await leave();
    await world.start();
    world.claim({ spec: { resources: { requests: { storage: '100E' } } } });
    await world.pass(1_000);
    expect(world.events().join('\n')).toMatch(/Warning AdoptionMisfit: .*100E/);
    world.api.erase('PersistentVolume', 'adopted-pvc-old');
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    world.claim();
    await world.pass(50);
    expect(offered()).toBeDefined();
  });

  it('change their modes for a claim of one pod', async () => {
    await leave();
    await world.start();
    world.claim({ spec: { accessModes: ['ReadWriteOncePod'] } });
    await world.pass(50);
    expect(offered()?.spec.accessModes).toEqual(['ReadWriteOncePod']);
  });

  it('are not offered where two have the name; the claim is told, and gets no empty one', async () => {
    await leave();
    await leave('pvc-older');
    await world.start();
    world.claim();
    await world.pass(30_000);
    expect(world.api.all('PersistentVolume')).toEqual([]);
    expect(world.driver.creates).toEqual([]);
    expect(world.events().join('\n')).toMatch(/Warning AdoptionAmbiguous: .*pvc-old .*pvc-older/);
  });

  it('are not offered again where somebody took the offer back, until a claim comes', async () => {
    await leave();
    await world.start();
    world.api.erase('PersistentVolume', 'adopted-pvc-old');
    await world.pass(120_000);
    expect(offered()).toBeUndefined();
    world.claim();
    await world.pass(50);
    expect(offered()).toBeDefined();
  });

  it('are not overwritten by a PV of that name that means something else', async () => {
    await leave();
    world.api.put('PersistentVolume', {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'adopted-pvc-old' },
      spec: { csi: { driver: 'other', volumeHandle: 'x' } },
    });
    await world.start();
    expect(world.driver.held()).toMatchObject([{ clusterUid: 'cluster-0' }]);
  });
});

describe('volumes of this cluster that lost their PV', () => {
  it('are offered when a claim of their name waits, and not before', async () => {
    await leave('pvc-old', 'cluster-1');
    await world.start();
    expect(offered()).toBeUndefined();
    world.claim();
    await world.pass(50);
    expect(offered()).toBeDefined();
    expect(world.events().join('\n')).toContain('Normal VolumeAdopted');
    await world.pass(30_000);
    expect(world.driver.creates).toEqual([]);
  });
});

describe('a volume that was begun and that nobody ever had', () => {
  it('is offered to nobody, and keeps no claim waiting', async () => {
    await leave();
    for (const entry of world.driver.volumes.values()) entry.isAcknowledged = false;
    world.driver.unused.add('pvc-old');
    await world.start();
    world.claim();
    await world.pass(6_000);
    expect(offered()).toBeUndefined();
    expect(world.volume()).toBeDefined();
  });
});

describe('claims of a class that adopts by name', () => {
  it('wait some seconds for other nodes, then get an empty volume', async () => {
    await world.start();
    world.claim();
    await world.pass(4_000);
    expect(world.volume()).toBeUndefined();
    await world.pass(2_000);
    expect(world.volume()).toBeDefined();
    world.bind();
    await world.pass(60_000);
    expect(world.api.all('PersistentVolume')).toHaveLength(1);
  });

  it('of other classes wait for nothing', async () => {
    world.api.erase('StorageClass', 'fast');
    world.api.put('StorageClass', aStorageClass());
    await world.start();
    world.claim();
    await world.pass(50);
    expect(world.volume()).toBeDefined();
  });
});

describe('a process that dies while it offers', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])(
    'ends the same in the next one, after %i steps',
    async (steps) => {
      await leave();
      for (const afterEffect of [false, true]) {
        const life = new Life(steps, afterEffect);
        const api = life.wrap(world.api, ['create', 'get', 'patch', 'list']);
        const driver = life.wrap(world.driver, ['adopt']);
        await world.start({}, { api, driver, isMortal: true });
        await world.pass(50);
        life.isOver = true;
      }
      await world.start();
      await world.pass(61_000);
      expect(offered()).toBeDefined();
      expect(world.api.all('PersistentVolume')).toHaveLength(1);
      expect(world.driver.held()).toMatchObject([{ clusterUid: 'cluster-1', acknowledged: true }]);
    },
  );
});

it('what is held is not gone through for every change where no class adopts by name', async () => {
  world.api.erase('StorageClass', 'fast');
  world.api.put('StorageClass', aStorageClass());
  const held = vi.spyOn(world.driver, 'held');
  await world.start();
  const before = held.mock.calls.length;
  for (let index = 0; index < 20; index += 1) {
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({ metadata: { name: `pvc-${index}`, uid: `v-${index}` } }),
    );
    await world.pass(50);
  }
  expect(held.mock.calls.length - before).toBeLessThanOrEqual(1);
});
