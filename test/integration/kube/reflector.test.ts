import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { Reflector } from '../../../src/kube/reflector.ts';
import { keyOf, ObjectStore } from '../../../src/kube/store.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const { signal } = new AbortController();
const soon = { timeout: 20_000, interval: 20 };

let server: RealApiServer;
let api: ReturnType<typeof createKubeApi>;

beforeAll(async () => {
  server = await RealApiServer.start();
  api = createKubeApi(loadKubeAccess(server.kubeconfigPath), { metrics: noMetrics, userAgent: 'loam/test' });
}, 900_000);
afterAll(async () => {
  await api?.close();
  await server?.stop();
});

describe('the reflector, on the real API server', () => {
  it('has in its store what the server has, through writes of many and through a crash of the server', async () => {
    const stop = new AbortController();
    const store = new ObjectStore<PersistentVolumeClaim>();
    const reflector = reflectorOf(store);
    const gaps: string[] = [];
    const announced = new Map<string, string | undefined>();
    reflector.onChange(({ previous, current }) => {
      const key = keyOf(current ?? previous ?? { name: '' });
      if (previous?.metadata.resourceVersion !== announced.get(key)) gaps.push(key);
      if (current === undefined) announced.delete(key);
      else announced.set(key, current.metadata.resourceVersion);
    });
    reflector.start(stop.signal);
    await reflector.synced;

    await churn('before', store);
    await expectEqual(store);
    await server.killApiServer();
    await vi.waitFor(() => expect(reflector.isLive()).toBe(false), soon);
    await server.startApiServer();
    await churn('after', store);
    await vi.waitFor(() => expect(reflector.isLive()).toBe(true), { timeout: 60_000 });
    await expectEqual(store);
    expect(announced.size).toBe(store.size);
    expect(gaps).toEqual([]);
    stop.abort();
    await vi.waitFor(() => expect(reflector.isLive()).toBe(false), soon);
  });
});

const recorderOnNodeA = (): EventRecorder =>
  new EventRecorder({ api, component: 'loam.dev', host: 'node-a', clock: systemClock, log: silentLog });

describe('the event recorder, on the real API server', () => {
  it('makes events that kubectl describe would show, and counts repeats', async () => {
    const recorder = recorderOnNodeA();
    const claim = await api.create('PersistentVolumeClaim', claimOf('told'), signal);
    for (let i = 0; i < 3; i += 1) {
      recorder.record(
        { kind: 'PersistentVolumeClaim', object: claim },
        'Warning',
        'ProvisioningFailed',
        'no space',
      );
      await recorder.flush(signal);
    }
    const pv = { metadata: { name: 'a-pv', uid: '1' } };
    recorder.record(
      { kind: 'PersistentVolume', object: pv },
      'Normal',
      'VolumeRecycled',
      'it is empty again',
    );
    await recorder.flush(signal);
    const { uid = '' } = claim.metadata;
    const about = await api.list(
      'Event',
      { namespace: 'default', fieldSelector: `involvedObject.uid=${uid}` },
      signal,
    );
    expect(about.items).toMatchObject([
      { reason: 'ProvisioningFailed', count: 3, source: { component: 'loam.dev', host: 'node-a' } },
    ]);
    const clusterWide = await api.list(
      'Event',
      { namespace: 'default', fieldSelector: 'reason=VolumeRecycled' },
      signal,
    );
    expect(clusterWide.items).toHaveLength(1);
    expect(recorder.dropped).toBe(0);
  });

  it('does not mind a namespace that is not there', async () => {
    const recorder = recorderOnNodeA();
    const object = { metadata: { namespace: 'gone', name: 'x' } };
    recorder.record({ kind: 'PersistentVolumeClaim', object }, 'Normal', 'Any', 'text');
    await recorder.flush(signal);
    expect(recorder.dropped).toBe(0);
  });
});

describe('the real controller manager', () => {
  it('binds a claim to a volume that was made for it', async () => {
    await server.startControllerManager({ apiQps: 500 });
    const created = await api.create('PersistentVolumeClaim', claimOf('bound'), signal);
    const { uid = '' } = created.metadata;
    await api.create(
      'PersistentVolume',
      {
        metadata: { name: 'for-bound' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '1Gi' },
          storageClassName: 'none',
          claimRef: { kind: 'PersistentVolumeClaim', namespace: 'default', name: 'bound', uid },
          csi: { driver: 'loam.dev', volumeHandle: 'for-bound' },
        },
      },
      signal,
    );
    await vi.waitFor(async () => {
      const { status } = await api.get(
        'PersistentVolumeClaim',
        { namespace: 'default', name: 'bound' },
        signal,
      );
      expect(status?.phase).toBe('Bound');
    }, soon);
  });
});

function reflectorOf(store: ObjectStore<PersistentVolumeClaim>): Reflector<'PersistentVolumeClaim'> {
  return new Reflector({
    api,
    kind: 'PersistentVolumeClaim',
    store,
    clock: systemClock,
    log: silentLog,
    metrics: noMetrics,
  });
}

/** Creates, patches and deletes, with half of the answers written through. */
async function churn(prefix: string, store: ObjectStore<PersistentVolumeClaim>): Promise<void> {
  const one = async (i: number) => {
    const name = `${prefix}-${i}`;
    const key = { namespace: 'default', name };
    const created = await api.create('PersistentVolumeClaim', claimOf(name), signal);
    if (i % 2 === 0) store.put(created);
    const patched = await api.patch(
      'PersistentVolumeClaim',
      key,
      { type: 'merge', body: { metadata: { labels: { i: `${i}` } } } },
      signal,
    );
    if (i % 2 === 0) store.put(patched);
    if (i % 3 !== 0) return;
    await api.remove('PersistentVolumeClaim', key, signal);
    const last = await api.patch(
      'PersistentVolumeClaim',
      key,
      { type: 'merge', body: { metadata: { finalizers: null } } },
      signal,
    );
    if (i % 2 === 0) store.put(last);
  };
  for (let i = 0; i < 120; i += 12) await Promise.all(Array.from({ length: 12 }, (_, j) => one(i + j)));
}

async function expectEqual(store: ObjectStore<PersistentVolumeClaim>): Promise<void> {
  const { items } = await api.list('PersistentVolumeClaim', {}, signal);
  const versions = (objects: Iterable<PersistentVolumeClaim>) =>
    [...objects].map((object) => `${keyOf(object)}@${object.metadata.resourceVersion}`).sort();
  await vi.waitFor(() => expect(versions(store.list())).toEqual(versions(items)), soon);
}

function claimOf(name: string): PersistentVolumeClaim {
  const resources = { requests: { storage: '1Gi' } };
  return {
    metadata: { name, namespace: 'default' },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'none', resources },
  };
}
