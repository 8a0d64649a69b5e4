import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bindCompleted, boundByController, selectedNode } from '../../../src/embedded/decide-claim.ts';
import { ObjectStorage } from '../../../src/embedded/object-storage.ts';
import { VolumeBinder } from '../../../src/embedded/volume-binder.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { aClaim, aClass, aPod, aVolume } from './builders.ts';

let storage: ObjectStorage;
let binder: VolumeBinder;
let told: string[];

beforeEach(() => {
  told = [];
  storage = new ObjectStorage({ clock: systemClock });
  const notices = {
    record: (involved: { object: { metadata: { name: string } } }, _: string, reason: string) =>
      void told.push(`${involved.object.metadata.name}: ${reason}`),
  };
  binder = new VolumeBinder({ storage, notices, clock: systemClock, log: silentLog });
});
afterEach(() => binder.stop());

const key = { namespace: 'default', name: 'data' };
const claimNow = () => storage.find('PersistentVolumeClaim', key);
const volumeNow = (name: string) => storage.find('PersistentVolume', { name });
const until = (check: () => void) => vi.waitFor(check, { timeout: 2000, interval: 5 });
const reaches = (phase: string) => until(() => expect(claimNow()?.status?.phase).toBe(phase));
const volumeReaches = (name: string, phase: string) =>
  until(() => expect(volumeNow(name)?.status?.phase).toBe(phase));

/** What an external provisioner posts. */
function provision(claim: PersistentVolumeClaim, name = 'pvc-1'): PersistentVolume {
  const { namespace = '', uid = '' } = claim.metadata;
  const annotations = { 'pv.kubernetes.io/provisioned-by': 'loam.dev' };
  const spec = {
    claimRef: { namespace, name: claim.metadata.name, uid },
    persistentVolumeReclaimPolicy: 'Delete' as const,
  };
  return storage.create('PersistentVolume', aVolume(name, spec, { annotations }));
}

describe('dynamic provisioning', () => {
  it('asks by both annotations, and binds the PV that comes', async () => {
    storage.create('StorageClass', aClass('local'));
    const claim = storage.create('PersistentVolumeClaim', aClaim('data'));
    await until(() =>
      expect(claimNow()?.metadata.annotations).toMatchObject({
        'volume.beta.kubernetes.io/storage-provisioner': 'loam.dev',
        'volume.kubernetes.io/storage-provisioner': 'loam.dev',
      }),
    );
    expect(told).toContain('data: ExternalProvisioning');
    provision(claim);
    await reaches('Bound');
    expect(claimNow()).toMatchObject({
      metadata: { annotations: { [bindCompleted]: 'yes' } },
      spec: { volumeName: 'pvc-1' },
      status: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] },
    });
    expect(volumeNow('pvc-1')?.status?.phase).toBe('Bound');
    expect(volumeNow('pvc-1')?.metadata.annotations?.[boundByController]).toBeUndefined();
  });

  it('does not ask before a node is selected under WaitForFirstConsumer', async () => {
    storage.create('StorageClass', aClass('local', { volumeBindingMode: 'WaitForFirstConsumer' }));
    storage.create('PersistentVolumeClaim', aClaim('data'));
    await until(() => expect(told).toContain('data: WaitForFirstConsumer'));
    expect(claimNow()?.metadata.annotations).toBeUndefined();
    storage.update('PersistentVolumeClaim', key, (claim) => ({
      ...claim,
      metadata: { ...claim.metadata, annotations: { [selectedNode]: 'a' } },
    }));
    await until(() => expect(told).toContain('data: ExternalProvisioning'));
  });

  it('releases the PV when the claim goes, and lets both go when nobody holds them', async () => {
    storage.create('StorageClass', aClass('local'));
    provision(storage.create('PersistentVolumeClaim', aClaim('data')));
    await reaches('Bound');
    storage.remove('PersistentVolumeClaim', key);
    await until(() => expect(claimNow()).toBeUndefined());
    await volumeReaches('pvc-1', 'Released');
    storage.remove('PersistentVolume', { name: 'pvc-1' });
    await until(() => expect(volumeNow('pvc-1')).toBeUndefined());
  });
});

describe('static PVs', () => {
  it('are Available, are taken by a claim that comes, and are marked as taken by the controller', async () => {
    storage.create('PersistentVolume', aVolume('v'));
    await volumeReaches('v', 'Available');
    storage.create('PersistentVolumeClaim', aClaim('data'));
    await reaches('Bound');
    expect(volumeNow('v')?.metadata.annotations?.[boundByController]).toBe('yes');
    expect(volumeNow('v')?.spec.claimRef?.uid).toBe(claimNow()?.metadata.uid);
    expect(claimNow()?.metadata.annotations?.[boundByController]).toBe('yes');
  });

  it('serve a claim that was there first', async () => {
    storage.create('PersistentVolumeClaim', aClaim('data'));
    storage.create('PersistentVolume', aVolume('v'));
    await reaches('Bound');
  });

  it('reserved by name wait for their claim and get its uid', async () => {
    storage.create('PersistentVolume', aVolume('v', { claimRef: { namespace: 'default', name: 'data' } }));
    await volumeReaches('v', 'Available');
    storage.create('PersistentVolumeClaim', aClaim('other'));
    storage.create('PersistentVolumeClaim', aClaim('data'));
    await reaches('Bound');
    expect(volumeNow('v')?.metadata.annotations?.[boundByController]).toBeUndefined();
    expect(storage.get('PersistentVolumeClaim', { namespace: 'default', name: 'other' }).status?.phase).toBe(
      'Pending',
    );
  });

  it('become Available again when their claimRef is cleared, as after a recycle', async () => {
    storage.create(
      'PersistentVolume',
      aVolume('v', { claimRef: { namespace: 'default', name: 'data', uid: 'gone' } }),
    );
    await volumeReaches('v', 'Released');
    storage.update('PersistentVolume', { name: 'v' }, (volume) => {
      const { claimRef: _, ...spec } = volume.spec;
      return { ...volume, spec };
    });
    await volumeReaches('v', 'Available');
  });

  it('with policy Recycle end Failed, with an event', async () => {
    const spec = {
      persistentVolumeReclaimPolicy: 'Recycle' as const,
      claimRef: { namespace: 'default', name: 'data', uid: 'gone' },
    };
    storage.create('PersistentVolume', aVolume('v', spec));
    await volumeReaches('v', 'Failed');
    expect(told).toContain('v: VolumeFailedRecycle');
  });

  it('that lose against another PV of their claim are let go again', async () => {
    storage.create('PersistentVolumeClaim', aClaim('data', { volumeName: 'w' }));
    storage.create('PersistentVolume', aVolume('w'));
    await reaches('Bound');
    const uid = claimNow()?.metadata.uid ?? '';
    const claimRef = { ...key, uid };
    storage.create(
      'PersistentVolume',
      aVolume('v', { claimRef }, { annotations: { [boundByController]: 'yes' } }),
    );
    await until(() => expect(volumeNow('v')?.spec.claimRef).toBeUndefined());
    await volumeReaches('v', 'Available');
  });
});

describe('what is lost or in use', () => {
  it('a bound claim whose PV vanishes is Lost', async () => {
    storage.create('PersistentVolume', aVolume('v'));
    storage.create('PersistentVolumeClaim', aClaim('data'));
    await reaches('Bound');
    storage.update('PersistentVolume', { name: 'v' }, (volume) => ({
      ...volume,
      metadata: { ...volume.metadata, finalizers: [] },
    }));
    storage.remove('PersistentVolume', { name: 'v' });
    await reaches('Lost');
    expect(told).toContain('data: ClaimLost');
  });

  it('a deleted PV stays while it is Bound', async () => {
    storage.create('PersistentVolume', aVolume('v'));
    storage.create('PersistentVolumeClaim', aClaim('data'));
    await reaches('Bound');
    storage.remove('PersistentVolume', { name: 'v' });
    storage.create('PersistentVolumeClaim', aClaim('later'));
    await until(() => expect(told).toContain('later: ProvisioningFailed'));
    expect(volumeNow('v')?.metadata.deletionTimestamp).toBeDefined();
    storage.remove('PersistentVolumeClaim', key);
    await until(() => expect(volumeNow('v')).toBeUndefined());
  });

  it('a deleted claim stays while a pod on a node uses it', async () => {
    storage.create('PersistentVolumeClaim', aClaim('data'));
    storage.create('Pod', aPod('user', 'data', { nodeName: 'a' }));
    storage.remove('PersistentVolumeClaim', key);
    storage.create('PersistentVolumeClaim', aClaim('later'));
    await until(() => expect(told).toContain('later: ProvisioningFailed'));
    expect(claimNow()).toBeDefined();
    storage.remove('Pod', { namespace: 'default', name: 'user' }, { gracePeriodSeconds: 0 });
    await until(() => expect(claimNow()).toBeUndefined());
  });
});

it('does nothing while it is paused', async () => {
  binder.pause(true);
  storage.create('PersistentVolume', aVolume('v'));
  await new Promise(setImmediate);
  expect(volumeNow('v')?.status?.phase).toBe('Pending');
  binder.pause(false);
  await volumeReaches('v', 'Available');
});
