import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEmbeddedControlPlane, type EmbeddedControlPlane } from '../../../src/embedded/start.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { RealApiServer } from '../../support/real-api-server.ts';
import { aClaim, aClass, aPod, aVolume } from '../../unit/embedded/builders.ts';
import { ApiClient, type Answer } from './api-client.ts';

/** The same requests to the embedded API and to a real kube-apiserver: what a client can tell must be the same. */
let real: RealApiServer;
let plane: EmbeddedControlPlane;
let clients: { readonly embedded: ApiClient; readonly real: ApiClient };

beforeAll(async () => {
  plane = await startEmbeddedControlPlane({
    nodes: [],
    binder: false,
    scheduler: false,
    clock: systemClock,
    log: silentLog,
  });
  real = await RealApiServer.start();
  clients = { embedded: new ApiClient(plane.url), real: new ApiClient(real.url, real.token) };
}, 120_000);
afterAll(async () => {
  await plane?.close();
  await real?.stop();
});

const classes = '/apis/storage.k8s.io/v1/storageclasses';
const volumes = '/api/v1/persistentvolumes';
const claims = '/api/v1/namespaces/default/persistentvolumeclaims';
const pods = '/api/v1/namespaces/default/pods';
const merge = { 'Content-Type': 'application/merge-patch+json' };
const strategic = { 'Content-Type': 'application/strategic-merge-patch+json' };
const json = { 'Content-Type': 'application/json-patch+json' };

type Step = (client: ApiClient) => Promise<Answer>;
const ask =
  (method: string, path: string, body?: unknown, headers?: Record<string, string>): Step =>
  (client) =>
    client.ask(method, path, body, headers);

/** What clients look at; names that are chosen at random, times, uids and versions become words. */
function gist({ status, body }: Answer): object {
  if (body['kind'] === 'Status') {
    const {
      reason,
      status: word,
      details,
    } = body as { reason?: string; status: string; details?: Record<string, unknown> };
    const causes = (details?.['causes'] as { field: string; reason: string }[] | undefined)?.map(
      ({ field, reason }) => `${field}: ${reason}`,
    );
    const { name, kind, group } = details ?? {};
    return { status, reason, word, details: { name, kind, group }, causes: causes?.toSorted() };
  }
  return { status, body: settle(body) };
}

const asWord: Readonly<Record<string, string>> = {
  uid: 'a uid',
  resourceVersion: 'a version',
  creationTimestamp: 'a time',
  deletionTimestamp: 'a time',
};
/** Fields of bookkeeping that the embedded API does not keep. */
const left = new Set([
  'managedFields',
  'generation',
  'selfLink',
  'lastPhaseTransitionTime',
  'remainingItemCount',
]);

function settle(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(settle);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([field]) => !left.has(field));
  return Object.fromEntries(
    entries.map(([field, member]) => [
      field,
      typeof member === 'string' ? (asWord[field] ?? member) : settle(member),
    ]),
  );
}

async function bothAnswer(steps: readonly Step[]): Promise<void> {
  for (const [index, step] of steps.entries()) {
    const [embedded, genuine] = await Promise.all([step(clients.embedded), step(clients.real)]);
    expect(gist(embedded), `step ${index + 1} of ${steps.length}`).toEqual(gist(genuine));
  }
}

/** Uses a field of an earlier answer, such as the present resourceVersion. */
const withCurrent =
  (
    path: string,
    step: (current: { metadata: { uid: string; resourceVersion: string } } & Record<string, unknown>) => Step,
  ): Step =>
  async (client) => {
    const { body } = await client.ask('GET', path);
    return step(body as never)(client);
  };

describe('the embedded API answers as kube-apiserver does', () => {
  it('to creating, reading, repeating and deleting a StorageClass', () =>
    bothAnswer([
      ask('GET', `${classes}/c1`),
      ask('POST', classes, aClass('c1', { parameters: { backend: 'directory' } })),
      ask('POST', classes, aClass('c1')),
      ask('GET', `${classes}/c1`),
      ask('PATCH', `${classes}/c1`, { parameters: { backend: 'loopback' } }, merge),
      ask('PATCH', `${classes}/c1`, { reclaimPolicy: 'Retain' }, merge),
      ask('PATCH', `${classes}/c1`, { provisioner: 'other' }, merge),
      ask('PATCH', `${classes}/c1`, { metadata: { labels: { a: 'b' } } }, merge),
      ask('GET', `${classes}?labelSelector=a%3Db`),
      ask('GET', `${classes}?labelSelector=a%21%3Db`),
      ask('DELETE', `${classes}/c1`),
      ask('DELETE', `${classes}/c1`),
      ask('POST', classes, aClass('c2', { reclaimPolicy: 'Recycle' as never })),
    ]));

  it('to a PV: defaults, finalizers, the two halves and what may not change', () =>
    bothAnswer([
      ask('POST', volumes, aVolume('v1', {}, { finalizers: ['loam.dev/test'] })),
      ask('POST', volumes, aVolume('v2', { capacity: { storage: '0' } })),
      ask('POST', volumes, aVolume('v2', { accessModes: [] })),
      ask('POST', volumes, aVolume('v2', { persistentVolumeReclaimPolicy: 'Shred' as never })),
      ask('POST', volumes, {
        metadata: { name: 'v2' },
        spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] },
      }),
      ask('POST', volumes, aVolume('V_2')),
      ask('PATCH', `${volumes}/v1`, { spec: { csi: { volumeHandle: 'other' } } }, merge),
      ask('PATCH', `${volumes}/v1`, { spec: { volumeMode: 'Block' } }, merge),
      ask('PATCH', `${volumes}/v1`, { status: { phase: 'Bound' } }, merge),
      ask('PATCH', `${volumes}/v1/status`, { status: { phase: 'Available' } }, merge),
      ask('PATCH', `${volumes}/v1`, { metadata: { finalizers: ['loam.dev/more'] } }, strategic),
      ask(
        'PATCH',
        `${volumes}/v1`,
        { metadata: { '$deleteFromPrimitiveList/finalizers': ['loam.dev/more'] } },
        strategic,
      ),
      ask(
        'PATCH',
        `${volumes}/v1`,
        { spec: { claimRef: { namespace: 'default', name: 'data' } } },
        strategic,
      ),
      ask('PATCH', `${volumes}/v1`, { spec: { claimRef: null } }, strategic),
      ask('PATCH', `${volumes}/v1`, { spec: { persistentVolumeReclaimPolicy: 'Recycle' } }, merge),
      ask('DELETE', `${volumes}/v1`),
      ask('PATCH', `${volumes}/v1`, { metadata: { finalizers: ['late/one'] } }, strategic),
      ask('PATCH', `${volumes}/v1`, { metadata: { finalizers: null } }, merge),
      ask('GET', `${volumes}/v1`),
    ]));

  it('to optimistic locking and preconditions', () =>
    bothAnswer([
      ask('POST', volumes, aVolume('v3')),
      withCurrent(`${volumes}/v3`, (current) =>
        ask('PUT', `${volumes}/v3`, { ...current, metadata: { ...current.metadata, labels: { a: '1' } } }),
      ),
      withCurrent(`${volumes}/v3`, ({ metadata }) =>
        ask(
          'PATCH',
          `${volumes}/v3`,
          { metadata: { resourceVersion: metadata.resourceVersion, labels: { a: '2' } } },
          merge,
        ),
      ),
      ask('PATCH', `${volumes}/v3`, { metadata: { resourceVersion: '1', labels: { a: '3' } } }, merge),
      withCurrent(`${volumes}/v3`, (current) =>
        ask('PUT', `${volumes}/v3`, { ...current, metadata: { ...current.metadata, resourceVersion: '1' } }),
      ),
      ask('PATCH', `${volumes}/v3`, { metadata: { uid: '11111111-1111-1111-1111-111111111111' } }, merge),
      ask('PATCH', `${volumes}/v3`, [{ op: 'test', path: '/metadata/labels/a', value: '9' }], json),
      ask('PATCH', `${volumes}/v3`, [{ op: 'remove', path: '/metadata/labels/none' }], json),
      ask(
        'PATCH',
        `${volumes}/v3`,
        [
          { op: 'test', path: '/metadata/labels/a', value: '2' },
          { op: 'add', path: '/metadata/labels/b', value: 'x' },
        ],
        json,
      ),
      ask('DELETE', `${volumes}/v3`, { preconditions: { uid: '11111111-1111-1111-1111-111111111111' } }),
      ask('DELETE', `${volumes}/v3`, { preconditions: { resourceVersion: '1' } }),
      withCurrent(`${volumes}/v3`, ({ metadata: { uid, resourceVersion } }) =>
        ask('DELETE', `${volumes}/v3`, { preconditions: { uid, resourceVersion } }),
      ),
      ask('POST', volumes, aVolume('v4', {}, { resourceVersion: '5' })),
    ]));

  it('to a claim: defaults, what is immutable, binding and growing', () =>
    bothAnswer([
      ask('POST', claims, aClaim('data')),
      ask('POST', claims, aClaim('zero', { resources: { requests: { storage: '0' } } })),
      ask('POST', claims, aClaim('none', { resources: {} })),
      ask('POST', claims, aClaim('mixed', { accessModes: ['ReadWriteOncePod', 'ReadWriteOnce'] })),
      ask('POST', claims, aClaim('away', {}, { namespace: 'kube-system' })),
      ask(
        'POST',
        '/api/v1/namespaces/nowhere/persistentvolumeclaims',
        aClaim('data', {}, { namespace: 'nowhere' }),
      ),
      ask('PATCH', `${claims}/data`, { spec: { storageClassName: 'other' } }, merge),
      ask('PATCH', `${claims}/data`, { spec: { resources: { requests: { storage: '2Gi' } } } }, merge),
      ask('PATCH', `${claims}/data`, { spec: { volumeName: 'v' } }, merge),
      ask('PATCH', `${claims}/data`, { spec: { volumeName: 'w' } }, merge),
      ask(
        'PATCH',
        `${claims}/data/status`,
        { status: { phase: 'Bound', capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] } },
        merge,
      ),
      ask(
        'PATCH',
        `${claims}/data`,
        { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'a' } } },
        merge,
      ),
      ask('DELETE', `${claims}/data`),
      ask('DELETE', `${claims}/data`),
      ask('PATCH', `${claims}/data`, { metadata: { finalizers: [] } }, merge),
      ask('GET', `${claims}/data`),
      ask('GET', claims),
    ]));

  it('to events, capacity objects and namespaces', () =>
    bothAnswer([
      ask('POST', '/api/v1/namespaces/default/events', {
        metadata: { name: 'e1' },
        involvedObject: { kind: 'PersistentVolumeClaim', namespace: 'default', name: 'data' },
        reason: 'Provisioning',
        message: 'it goes on',
        type: 'Normal',
      }),
      ask('POST', '/api/v1/namespaces/default/events', {
        metadata: { name: 'e2' },
        involvedObject: { namespace: 'other' },
        reason: 'x',
        message: 'y',
        type: 'Normal',
      }),
      async (client) => {
        const { status, body } = await client.ask(
          'GET',
          '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Ddata,involvedObject.kind%3DPersistentVolumeClaim',
        );
        return {
          status,
          body: {
            names: (body['items'] as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name),
          },
        };
      },
      ask('GET', `${volumes}?fieldSelector=spec.storageClassName%3Da`),
      ask('POST', '/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities', {
        metadata: { name: 'cap' },
        storageClassName: 'local',
        capacity: '1Gi',
      }),
      ask('DELETE', '/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities/cap'),
      ask('DELETE', '/api/v1/namespaces/default'),
      ask('GET', '/api/v1/widgets'),
      ask('DELETE', '/api/v1/namespaces/default/events/e1'),
      ask('POST', `${classes}/x`, {}),
    ]));

  it('to a pod on a node that is deleted', () =>
    bothAnswer([
      async (client) => {
        const pod = aPod('user', 'data', { nodeName: 'a' });
        const { status } = await client.ask('POST', pods, {
          ...pod,
          spec: { ...pod.spec, containers: [{ name: 'c', image: 'i' }] },
        });
        return { status, body: {} };
      },
      async (client) => {
        const { status, body } = await client.ask('DELETE', `${pods}/user`);
        const { metadata } = body as { metadata: Record<string, unknown> };
        return {
          status,
          body: { grace: metadata['deletionGracePeriodSeconds'], isMarked: 'deletionTimestamp' in metadata },
        };
      },
      async (client) => ({ status: (await client.ask('GET', `${pods}/user`)).status, body: {} }),
      async (client) => ({
        status: (await client.ask('DELETE', `${pods}/user`, { gracePeriodSeconds: 0 })).status,
        body: {},
      }),
      ask('GET', `${pods}/user`),
    ]));

  it('to watches: the past, what is there, and a version that is too old', () =>
    bothAnswer([
      ask('POST', classes, aClass('w1')),
      ask('PATCH', `${classes}/w1`, { metadata: { labels: { a: 'b' } } }, merge),
      async (client) => {
        const { body } = await client.ask('GET', `${classes}/w1`);
        const version =
          Number((body as { metadata: { resourceVersion: string } }).metadata.resourceVersion) - 1;
        return watchOnce(client, `resourceVersion=${version}&fieldSelector=metadata.name%3Dw1`);
      },
      (client) => watchOnce(client, 'resourceVersion=0&fieldSelector=metadata.name%3Dw1'),
      (client) => watchOnce(client, 'fieldSelector=metadata.name%3Dw1'),
    ]));

  it('to watches by label: what comes into the selection is added, what leaves it deleted, as it was before', () =>
    bothAnswer([
      ask('POST', classes, aClass('l1')),
      async (client) => {
        const { body } = await client.ask('GET', `${classes}/l1`);
        const version = (body as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
        const watched = client.ask(
          'GET',
          `${classes}?watch=1&timeoutSeconds=2&resourceVersion=${version}&labelSelector=in%3Dyes`,
        );
        const versions = new Map<string, string>();
        for (const [labels, parameters] of [
          [{ in: 'yes' }, { step: 'came' }],
          [{ other: 'x' }, { step: 'stayed' }],
          [{ in: 'no' }, { step: 'left' }],
          [{ other: 'y' }, { step: 'outside' }],
          [{ in: 'yes' }, { step: 'back' }],
        ] as const) {
          const annotations = parameters;
          const patched = await client.ask(
            'PATCH',
            `${classes}/l1`,
            { metadata: { labels, annotations } },
            merge,
          );
          const { metadata } = patched.body as { metadata: { resourceVersion: string } };
          versions.set(metadata.resourceVersion, parameters.step);
        }
        await client.ask('DELETE', `${classes}/l1`);
        const { status, body: seen } = await watched;
        const events = (seen['events'] ?? []) as {
          type: string;
          object: { metadata: { labels: object; annotations: object; resourceVersion: string } };
        }[];
        return {
          status,
          body: {
            events: events.map(({ type, object: { metadata } }) => ({
              type,
              labels: metadata.labels,
              annotations: metadata.annotations,
              at: versions.get(metadata.resourceVersion) ?? 'its end',
            })),
          },
        };
      },
    ]));

  async function watchOnce(client: ApiClient, query: string): Promise<Answer> {
    const { status, body } = await client.ask('GET', `${classes}?watch=1&timeoutSeconds=1&${query}`);
    const events = (body['events'] ?? [body]) as { type: string; object: { metadata: { name: string } } }[];
    return { status, body: { events: events.map(({ type, object }) => `${type} ${object.metadata.name}`) } };
  }
});
