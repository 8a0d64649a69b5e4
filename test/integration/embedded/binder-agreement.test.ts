import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startEmbeddedControlPlane } from '../../../src/embedded/start.ts';
import { createKubeApi, loadKubeAccess, plainKubeAccess } from '../../../src/kube/client.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { RealApiServer } from '../../support/real-api-server.ts';
import { aClaim, aClass, aVolume } from '../../unit/embedded/builders.ts';

type Closeable = KubeApi & { close(): Promise<void> };
const signal = AbortSignal.timeout(600_000);
const options = { metrics: noMetrics, userAgent: 'loam-test' };

async function embedded(): Promise<{ api: Closeable; stop: () => Promise<void> }> {
  const plane = await startEmbeddedControlPlane({
    nodes: [],
    binder: true,
    scheduler: false,
    clock: systemClock,
    log: silentLog,
  });
  return { api: createKubeApi(plainKubeAccess(plane.url), options), stop: () => plane.close() };
}
async function real(): Promise<{ api: Closeable; stop: () => Promise<void> }> {
  const server = await RealApiServer.start();
  const controllers =
    'persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller';
  await server.startControllerManager({ controllers });
  return { api: createKubeApi(loadKubeAccess(server.kubeconfigPath), options), stop: () => server.stop() };
}

/** The same story told to the volume binder and to a real kube-controller-manager: both end in the same state. */
describe.each([
  ['the embedded volume binder', embedded],
  ['kube-controller-manager', real],
])('%s', (_, start) => {
  let api: Closeable;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    ({ api, stop } = await start());
    await api.create('StorageClass', aClass('now'), signal);
    await api.create('StorageClass', aClass('later', { volumeBindingMode: 'WaitForFirstConsumer' }), signal);
  }, 120_000);
  afterAll(async () => {
    await api?.close();
    await stop?.();
  });

  // the real one looks at some things only every 15 s
  const until = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 40_000, interval: 50 });
  const claimNow = (name: string) => api.get('PersistentVolumeClaim', { namespace: 'default', name }, signal);
  const volumeNow = (name: string) => api.get('PersistentVolume', { name }, signal);
  const claimPhase = (name: string, phase: string) =>
    until(async () => expect((await claimNow(name)).status?.phase).toBe(phase));
  const volumePhase = (name: string, phase: string) =>
    until(async () => expect((await volumeNow(name)).status?.phase).toBe(phase));
  const tell = (name: string, reason: string) =>
    until(async () => {
      const { items } = await api.list('Event', { fieldSelector: `involvedObject.name=${name}` }, signal);
      expect(items.map((event) => event.reason)).toContain(reason);
    });
  const annotations = async (name: string) =>
    Object.keys((await claimNow(name)).metadata.annotations ?? {}).toSorted();

  it('asks the provisioner of an Immediate claim, and binds the PV that it posts', async () => {
    const claim = await api.create(
      'PersistentVolumeClaim',
      aClaim('dynamic', { storageClassName: 'now' }),
      signal,
    );
    await until(async () =>
      expect(await annotations('dynamic')).toEqual([
        'volume.beta.kubernetes.io/storage-provisioner',
        'volume.kubernetes.io/storage-provisioner',
      ]),
    );
    await tell('dynamic', 'ExternalProvisioning');
    const claimRef = {
      kind: 'PersistentVolumeClaim',
      apiVersion: 'v1',
      namespace: 'default',
      name: 'dynamic',
      uid: claim.metadata.uid ?? '',
    };
    const spec = { claimRef, storageClassName: 'now', persistentVolumeReclaimPolicy: 'Delete' as const };
    await api.create(
      'PersistentVolume',
      aVolume('dyn', spec, { annotations: { 'pv.kubernetes.io/provisioned-by': 'loam.dev' } }),
      signal,
    );
    await claimPhase('dynamic', 'Bound');
    await volumePhase('dyn', 'Bound');
    expect(await annotations('dynamic')).toContain('pv.kubernetes.io/bind-completed');
    expect((await volumeNow('dyn')).metadata.annotations).not.toHaveProperty([
      'pv.kubernetes.io/bound-by-controller',
    ]);
    await api.remove('PersistentVolumeClaim', { namespace: 'default', name: 'dynamic' }, signal);
    await volumePhase('dyn', 'Released');
  });

  it('waits for a selected node under WaitForFirstConsumer', async () => {
    await api.create('PersistentVolumeClaim', aClaim('waits', { storageClassName: 'later' }), signal);
    await tell('waits', 'WaitForFirstConsumer');
    expect(await annotations('waits')).toEqual([]);
    const body = { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'a' } } };
    await api.patch(
      'PersistentVolumeClaim',
      { namespace: 'default', name: 'waits' },
      { type: 'merge', body },
      signal,
    );
    await tell('waits', 'ExternalProvisioning');
  });

  it('gives a claim the smallest static PV that fits, and makes it Available again when claimRef is cleared', async () => {
    for (const [name, storage] of [
      ['big', '9Gi'],
      ['fits', '2Gi'],
      ['tiny', '1Mi'],
    ] as const) {
      await api.create(
        'PersistentVolume',
        aVolume(name, { capacity: { storage }, storageClassName: '' }),
        signal,
      );
      await volumePhase(name, 'Available');
    }
    await api.create('PersistentVolumeClaim', aClaim('static', { storageClassName: '' }), signal);
    await claimPhase('static', 'Bound');
    const claim = await claimNow('static');
    expect(claim).toMatchObject({ spec: { volumeName: 'fits' }, status: { capacity: { storage: '2Gi' } } });
    expect(await annotations('static')).toEqual([
      'pv.kubernetes.io/bind-completed',
      'pv.kubernetes.io/bound-by-controller',
    ]);
    expect((await volumeNow('fits')).spec.claimRef).toMatchObject({
      uid: claim.metadata.uid,
      name: 'static',
    });
    await api.remove('PersistentVolumeClaim', { namespace: 'default', name: 'static' }, signal);
    await volumePhase('fits', 'Released');
    await api.patch(
      'PersistentVolume',
      { name: 'fits' },
      { type: 'merge', body: { spec: { claimRef: null } } },
      signal,
    );
    await volumePhase('fits', 'Available');
  });

  it('keeps a PV that is reserved by name for its claim, and marks nothing on it', async () => {
    const claimRef = { namespace: 'default', name: 'expected' };
    await api.create(
      'PersistentVolume',
      aVolume('reserved', { claimRef, storageClassName: 'static' }),
      signal,
    );
    await volumePhase('reserved', 'Available');
    await api.create('PersistentVolumeClaim', aClaim('expected', { storageClassName: 'static' }), signal);
    await claimPhase('expected', 'Bound');
    const { metadata, spec } = await volumeNow('reserved');
    expect(spec.claimRef?.uid).toBe((await claimNow('expected')).metadata.uid);
    expect(metadata.annotations).toBeUndefined();
  });

  it('says that a claim does not fit the PV that it names', async () => {
    await api.create(
      'PersistentVolume',
      aVolume('small', { capacity: { storage: '1Mi' }, storageClassName: 'static' }),
      signal,
    );
    await api.create(
      'PersistentVolumeClaim',
      aClaim('large', { storageClassName: 'static', volumeName: 'small' }),
      signal,
    );
    await tell('large', 'VolumeMismatch');
    await claimPhase('large', 'Pending');
  });

  it('fails a released PV whose policy is Recycle', async () => {
    const claimRef = { namespace: 'default', name: 'gone', uid: '11111111-1111-1111-1111-111111111111' };
    await api.create(
      'PersistentVolume',
      aVolume('recycled', { claimRef, persistentVolumeReclaimPolicy: 'Recycle' }),
      signal,
    );
    await volumePhase('recycled', 'Failed');
    await tell('recycled', 'VolumeFailedRecycle');
  });

  it('holds a deleted PV while it is Bound, and calls a claim Lost whose PV was torn away', async () => {
    await api.create('PersistentVolume', aVolume('torn', { storageClassName: 'static' }), signal);
    await api.create(
      'PersistentVolumeClaim',
      aClaim('robbed', { storageClassName: 'static', volumeName: 'torn' }),
      signal,
    );
    await claimPhase('robbed', 'Bound');
    await volumePhase('torn', 'Bound');
    await api.remove('PersistentVolume', { name: 'torn' }, signal);
    expect((await volumeNow('torn')).metadata.deletionTimestamp).toBeDefined();
    await api.patch(
      'PersistentVolume',
      { name: 'torn' },
      { type: 'merge', body: { metadata: { finalizers: null } } },
      signal,
    );
    await claimPhase('robbed', 'Lost');
    await tell('robbed', 'ClaimLost');
  });

  it('lets go of a PV whose claim took another one', async () => {
    await api.create('PersistentVolume', aVolume('taken', { storageClassName: 'static' }), signal);
    await api.create(
      'PersistentVolumeClaim',
      aClaim('settled', { storageClassName: 'static', volumeName: 'taken' }),
      signal,
    );
    await claimPhase('settled', 'Bound');
    const claimRef = {
      namespace: 'default',
      name: 'settled',
      uid: (await claimNow('settled')).metadata.uid ?? '',
    };
    const mark = { 'pv.kubernetes.io/bound-by-controller': 'yes' };
    await api.create(
      'PersistentVolume',
      aVolume('spare', { claimRef, storageClassName: 'static' }, { annotations: mark }),
      signal,
    );
    await until(async () => expect((await volumeNow('spare')).spec.claimRef).toBeUndefined());
    await volumePhase('spare', 'Available');
  });
});
