import { beforeEach, describe, expect, it } from 'vitest';
import { ApiFailure } from '../../../src/embedded/api-failure.ts';
import type { Change } from '../../../src/embedded/history.ts';
import { ObjectStorage } from '../../../src/embedded/object-storage.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { aClaim, aClass, aPod, aVolume } from './builders.ts';

let storage: ObjectStorage;
beforeEach(() => (storage = new ObjectStorage({ clock: systemClock })));

const key = { namespace: 'default', name: 'data' };

function failureOf(work: () => unknown): ApiFailure['body'] {
  try {
    work();
  } catch (error) {
    if (error instanceof ApiFailure) return error.body;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('creating', () => {
  it('gives uid, time and a resourceVersion, the defaults, the first phase and the protection finalizer', () => {
    const claim = storage.create('PersistentVolumeClaim', aClaim('data'));
    expect(claim.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(claim.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(claim.metadata.resourceVersion).toBe(String(storage.revision));
    expect(claim.metadata.finalizers).toEqual(['kubernetes.io/pvc-protection']);
    expect(claim.spec.volumeMode).toBe('Filesystem');
    expect(claim.status).toEqual({ phase: 'Pending' });
  });

  it('ignores a status that the writer made up', () => {
    const volume = storage.create('PersistentVolume', { ...aVolume('v'), status: { phase: 'Bound' } });
    expect(volume.status).toEqual({ phase: 'Pending' });
    expect(volume.spec.persistentVolumeReclaimPolicy).toBe('Retain');
  });

  it('refuses a name that is taken, a namespace that is not there and a resourceVersion', () => {
    storage.create('PersistentVolumeClaim', aClaim('data'));
    expect(failureOf(() => storage.create('PersistentVolumeClaim', aClaim('data')))).toMatchObject({
      code: 409,
      reason: 'AlreadyExists',
      details: { name: 'data', kind: 'persistentvolumeclaims' },
    });
    const elsewhere = aClaim('data', {}, { namespace: 'nowhere' });
    expect(failureOf(() => storage.create('PersistentVolumeClaim', elsewhere))).toMatchObject({ code: 404 });
    const versioned = aClaim('other', {}, { resourceVersion: '3' });
    expect(failureOf(() => storage.create('PersistentVolumeClaim', versioned))).toMatchObject({ code: 500 });
  });

  it('makes a name from generateName', () => {
    const { metadata } = storage.create('CSIStorageCapacity', {
      metadata: { name: '', generateName: 'csisc-', namespace: 'default' },
      storageClassName: 'local',
    });
    expect(metadata.name).toMatch(/^csisc-[a-z0-9]{5}$/);
  });

  it('gives a claim without a class the default class, and leaves an empty class name alone', () => {
    const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
    storage.create('StorageClass', aClass('standard', { metadata: { name: 'standard', annotations } }));
    const { storageClassName: _, ...spec } = aClaim('data').spec;
    const claim = storage.create('PersistentVolumeClaim', { metadata: { name: 'data' }, spec });
    expect(claim.spec.storageClassName).toBe('standard');
    const none = storage.create('PersistentVolumeClaim', aClaim('none', { storageClassName: '' }));
    expect(none.spec.storageClassName).toBe('');
  });

  it('writes nothing in a dry run', () => {
    storage.create('PersistentVolumeClaim', aClaim('data'), { isDryRun: true });
    expect(storage.find('PersistentVolumeClaim', key)).toBeUndefined();
  });
});

describe('updating', () => {
  it('refuses a resourceVersion or a uid that is not the present one, and changes nothing then', () => {
    const first = storage.create('PersistentVolumeClaim', aClaim('data'));
    const label = (labels: Record<string, string>, metadata: object = {}) =>
      storage.update('PersistentVolumeClaim', key, (claim) => ({
        ...claim,
        metadata: { ...claim.metadata, labels, ...metadata },
      }));
    label({ a: '1' });
    const { resourceVersion } = first.metadata;
    expect(failureOf(() => label({ a: '2' }, { resourceVersion }))).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
    expect(failureOf(() => label({ a: '2' }, { uid: 'another' }))).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
    expect(storage.get('PersistentVolumeClaim', key).metadata.labels).toEqual({ a: '1' });
  });

  it('keeps the status apart: the object writes no status, the subresource writes no spec', () => {
    storage.create('PersistentVolume', aVolume('v'));
    const released = storage.update('PersistentVolume', { name: 'v' }, (volume) => ({
      ...volume,
      spec: { ...volume.spec, mountOptions: ['noatime'] },
      status: { phase: 'Released' },
    }));
    expect(released.status?.phase).toBe('Pending');
    expect(released.spec.mountOptions).toEqual(['noatime']);
    const status = storage.update(
      'PersistentVolume',
      { name: 'v' },
      (volume) => ({ ...volume, spec: { ...volume.spec, mountOptions: [] }, status: { phase: 'Released' } }),
      { subresource: 'status' },
    );
    expect(status.status?.phase).toBe('Released');
    expect(status.spec.mountOptions).toEqual(['noatime']);
  });

  it('writes nothing where nothing changes', () => {
    const { metadata } = storage.create('PersistentVolume', aVolume('v'));
    const same = storage.update('PersistentVolume', { name: 'v' }, (volume) => ({ ...volume }));
    expect(same.metadata.resourceVersion).toBe(metadata.resourceVersion);
  });

  it.each([
    ['the class of a claim', () => changeClaim({ storageClassName: 'other' }), 'spec'],
    [
      'the size of a pending claim',
      () => changeClaim({ resources: { requests: { storage: '2Gi' } } }),
      'spec',
    ],
    [
      'the handle of a PV',
      () => changeVolume({ csi: { driver: 'loam.dev', volumeHandle: 'other' } }),
      'spec.persistentvolumesource',
    ],
    ['the volume mode of a PV', () => changeVolume({ volumeMode: 'Block' }), 'volumeMode'],
    ['the parameters of a class', () => changeClass({ parameters: { a: 'b' } }), 'parameters'],
    ['the policy of a class', () => changeClass({ reclaimPolicy: 'Retain' }), 'reclaimPolicy'],
  ])('refuses to change %s', (_, change, field) => {
    storage.create('PersistentVolumeClaim', aClaim('data'));
    storage.create('PersistentVolume', aVolume('v'));
    storage.create('StorageClass', aClass('local'));
    const body = failureOf(change);
    expect(body).toMatchObject({ code: 422, reason: 'Invalid' });
    expect(body.details?.causes?.map((cause) => cause.field)).toEqual([field]);
  });

  it('lets a claim get its volume once, and grow when it is bound', () => {
    storage.create('PersistentVolumeClaim', aClaim('data'));
    changeClaim({ volumeName: 'v' });
    expect(failureOf(() => changeClaim({ volumeName: 'w' }))).toMatchObject({ code: 422 });
    const bound = { phase: 'Bound' as const, capacity: { storage: '1Gi' } };
    storage.update('PersistentVolumeClaim', key, (claim) => ({ ...claim, status: bound }), {
      subresource: 'status',
    });
    changeClaim({ resources: { requests: { storage: '2Gi' } } });
    expect(failureOf(() => changeClaim({ resources: { requests: { storage: '1Gi' } } }))).toMatchObject({
      code: 422,
    });
  });

  function changeClaim(spec: object): unknown {
    return storage.update('PersistentVolumeClaim', key, (claim) => ({
      ...claim,
      spec: { ...claim.spec, ...spec },
    }));
  }
  function changeVolume(spec: object): unknown {
    return storage.update('PersistentVolume', { name: 'v' }, (volume) => ({
      ...volume,
      spec: { ...volume.spec, ...spec },
    }));
  }
  function changeClass(over: object): unknown {
    return storage.update('StorageClass', { name: 'local' }, (storageClass) => ({
      ...storageClass,
      ...over,
    }));
  }
});

describe('deleting', () => {
  it('marks what a finalizer holds, and removes it with the last finalizer', () => {
    const changes: Change[] = [];
    storage.create('PersistentVolume', aVolume('v', {}, { finalizers: ['loam.dev/test'] }));
    storage.history.subscribe((change) => changes.push(change));
    expect(storage.remove('PersistentVolume', { name: 'v' }).metadata.deletionTimestamp).toBeDefined();
    dropFinalizer('kubernetes.io/pv-protection');
    expect(storage.find('PersistentVolume', { name: 'v' })).toBeDefined();
    dropFinalizer('loam.dev/test');
    expect(storage.find('PersistentVolume', { name: 'v' })).toBeUndefined();
    expect(changes.at(-1)).toMatchObject({ type: 'DELETED', revision: storage.revision });
    expect(changes.at(-1)?.object.metadata.resourceVersion).toBe(String(storage.revision));
  });

  it('does not write again when it is asked twice', () => {
    storage.create('PersistentVolume', aVolume('v'));
    const first = storage.remove('PersistentVolume', { name: 'v' });
    const second = storage.remove('PersistentVolume', { name: 'v' });
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  it('refuses a new finalizer on what is being deleted', () => {
    storage.create('PersistentVolume', aVolume('v'));
    storage.remove('PersistentVolume', { name: 'v' });
    const add = () =>
      storage.update('PersistentVolume', { name: 'v' }, (volume) => ({
        ...volume,
        metadata: { ...volume.metadata, finalizers: [...(volume.metadata.finalizers ?? []), 'late'] },
      }));
    expect(failureOf(add)).toMatchObject({ code: 422 });
  });

  it('honours preconditions', () => {
    const { metadata } = storage.create('StorageClass', aClass('local'));
    const { uid = '', resourceVersion = '' } = metadata;
    const remove = (options: object) => storage.remove('StorageClass', { name: 'local' }, options);
    expect(failureOf(() => remove({ uid: 'another' }))).toMatchObject({ code: 409, reason: 'Conflict' });
    expect(failureOf(() => remove({ uid, resourceVersion: '1' }))).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
    remove({ uid, resourceVersion });
    expect(storage.find('StorageClass', { name: 'local' })).toBeUndefined();
  });

  it('leaves a pod that is on a node to its kubelet, and takes one that is on none', () => {
    storage.create('Pod', aPod('waiting', 'data'));
    storage.create('Pod', aPod('placed', 'data', { nodeName: 'a' }));
    const placed = { namespace: 'default', name: 'placed' };
    storage.remove('Pod', { namespace: 'default', name: 'waiting' });
    expect(storage.remove('Pod', placed).metadata.deletionTimestamp).toBeDefined();
    expect([...storage.all('Pod')].map(({ metadata }) => metadata.name)).toEqual(['placed']);
    storage.remove('Pod', placed, { gracePeriodSeconds: 0 });
    expect([...storage.all('Pod')]).toEqual([]);
  });

  it('empties a namespace', () => {
    storage.create('Namespace', { metadata: { name: 'team' } });
    storage.create('Pod', { ...aPod('p', 'data'), metadata: { name: 'p', namespace: 'team' } });
    storage.remove('Namespace', { name: 'team' });
    expect([...storage.all('Pod')]).toEqual([]);
    expect(failureOf(() => storage.remove('Namespace', { name: 'default' }))).toMatchObject({ code: 403 });
  });

  function dropFinalizer(name: string): void {
    storage.update('PersistentVolume', { name: 'v' }, (volume) => ({
      ...volume,
      metadata: {
        ...volume.metadata,
        finalizers: volume.metadata.finalizers?.filter((one) => one !== name) ?? [],
      },
    }));
  }
});

describe('history', () => {
  it('tells the writes after a revision, and 410 for one that is forgotten', () => {
    const small = new ObjectStorage({ clock: systemClock, historyLimit: 3 });
    const { revision } = small;
    for (const name of ['a', 'b', 'c']) small.create('StorageClass', aClass(name));
    expect(small.history.since(revision).map(({ object }) => object.metadata.name)).toEqual(['a', 'b', 'c']);
    for (const name of ['d', 'e', 'f', 'g']) small.create('StorageClass', aClass(name));
    expect(failureOf(() => small.history.since(revision))).toMatchObject({ code: 410, reason: 'Expired' });
    const now = small.revision;
    small.history.compact();
    expect(small.history.since(now)).toEqual([]);
    expect(failureOf(() => small.history.since(now - 1))).toMatchObject({ code: 410 });
  });
});
