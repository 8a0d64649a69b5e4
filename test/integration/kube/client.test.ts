import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ApiError,
  ApiUnreachable,
  isAlreadyExists,
  isConflict,
  isExpired,
  isNotFound,
} from '../../../src/kube/api-error.ts';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { failureOf } from '../../support/failure-of.ts';
import { RealApiServer } from '../../support/real-api-server.ts';

const { signal } = new AbortController();
const settings = { metrics: noMetrics, userAgent: 'loam/test' };
const hasOpenssl = existsSync('/usr/bin/openssl');

let server: RealApiServer;
let api: ReturnType<typeof createKubeApi>;
let clientCertificate: { readonly cert: string; readonly key: string } | undefined;

beforeAll(async () => {
  // a certificate authority for users has to be there when the server starts
  const flags = hasOpenssl ? ['--client-ca-file=user-ca.crt'] : [];
  server = await RealApiServer.start({
    apiServerFlags: (directoryPath) => {
      if (hasOpenssl) clientCertificate = makeClientCertificate(directoryPath);
      return flags.map((flag) => flag.replace('=', `=${directoryPath}/`));
    },
  });
  api = createKubeApi(loadKubeAccess(server.kubeconfigPath), settings);
}, 900_000);
afterAll(async () => {
  await api?.close();
  await server?.stop();
});

describe('the client, on the real API server', () => {
  it('creates, reads, patches and removes', async () => {
    const key = { namespace: 'default', name: 'a-claim' };
    const created = await api.create('PersistentVolumeClaim', claim(key.name), signal);
    expect(created).toMatchObject({
      kind: 'PersistentVolumeClaim',
      apiVersion: 'v1',
      status: { phase: 'Pending' },
    });
    expect(created.metadata).not.toHaveProperty('managedFields');
    expect(await api.get('PersistentVolumeClaim', key, signal)).toEqual(created);

    const merged = await api.patch(
      'PersistentVolumeClaim',
      key,
      { type: 'merge', body: labelled('by', 'merge') },
      signal,
    );
    expect(merged.metadata.labels).toEqual({ by: 'merge' });
    const strategic = { type: 'strategic', body: labelled('and', 'strategic') } as const;
    expect((await api.patch('PersistentVolumeClaim', key, strategic, signal)).metadata.labels).toEqual({
      by: 'merge',
      and: 'strategic',
    });
    const steps = { type: 'json', body: [{ op: 'remove', path: '/metadata/labels/by' }] } as const;
    expect((await api.patch('PersistentVolumeClaim', key, steps, signal)).metadata.labels).toEqual({
      and: 'strategic',
    });

    await api.remove('PersistentVolumeClaim', key, signal);
    // nobody here takes the protection finalizer away
    await api.patch(
      'PersistentVolumeClaim',
      key,
      { type: 'merge', body: { metadata: { finalizers: null } } },
      signal,
    );
    expect(await failureOf(api.get('PersistentVolumeClaim', key, signal))).toSatisfy(isNotFound);
  });

  it('writes a status under a precondition', async () => {
    const pv = await api.create('PersistentVolume', volume('a-volume'), signal);
    const status = (resourceVersion: string | undefined) =>
      ({ type: 'merge', body: { metadata: { resourceVersion }, status: { phase: 'Released' } } }) as const;
    const key = { name: 'a-volume' };
    const written = await api.patch(
      'PersistentVolume',
      key,
      status(pv.metadata.resourceVersion),
      signal,
      'status',
    );
    expect(written.status?.phase).toBe('Released');
    const stale = api.patch('PersistentVolume', key, status(pv.metadata.resourceVersion), signal, 'status');
    expect(await failureOf(stale)).toSatisfy(isConflict);
  });

  it('tells what went wrong in the words of the server', async () => {
    await api.create('PersistentVolume', volume('twice'), signal);
    const again = await failureOf(api.create('PersistentVolume', volume('twice'), signal));
    expect(again).toSatisfy(isAlreadyExists);
    expect(again).toMatchObject({ status: 409, message: 'persistentvolumes "twice" already exists' });
    const wrongUid = api.remove('PersistentVolume', { name: 'twice' }, signal, { uid: 'somebody-else' });
    expect(await failureOf(wrongUid)).toSatisfy(isConflict);
    const invalid = api.create('PersistentVolume', { metadata: { name: 'Not A Name' }, spec: {} }, signal);
    expect(await failureOf(invalid)).toMatchObject({ status: 422, reason: 'Invalid' });
  });

  it('lists in pages, as of one moment, and by label', async () => {
    const names = Array.from({ length: 1_203 }, (_, i) => `paged-${String(i).padStart(4, '0')}`);
    const left = [...names];
    const worker = async () => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        await api.create('PersistentVolumeClaim', claim(name, { paged: 'yes' }), signal);
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    const list = await api.list('PersistentVolumeClaim', { labelSelector: 'paged=yes' }, signal);
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(names);
    expect(list.items.some(({ metadata }) => 'managedFields' in metadata)).toBe(false);
    const one = { namespace: 'default', fieldSelector: 'metadata.name=paged-0007' };
    expect((await api.list('PersistentVolumeClaim', one, signal)).items).toHaveLength(1);
    expect((await api.list('PersistentVolumeClaim', { namespace: 'kube-system' }, signal)).items).toEqual([]);
  });

  it('watches from where a list ended, and ends when the server says so', async () => {
    const { resourceVersion } = await api.list('StorageClass', {}, signal);
    let opened = 0;
    const onOpen = () => {
      opened += 1;
    };
    const seen: string[] = [];
    const watch = api.watch('StorageClass', { resourceVersion, timeoutSeconds: 3, onOpen }, signal);
    await api.create('StorageClass', { metadata: { name: 'fast' }, provisioner: 'loam.dev' }, signal);
    for await (const event of watch) if (event.type === 'ADDED') seen.push(event.object.metadata.name);
    expect(seen).toEqual(['fast']);
    expect(opened).toBe(1);
  });

  it('is told when its place is too old to watch from', async () => {
    // a server that has just started remembers nothing of what was before
    await server.killApiServer();
    await server.startApiServer();
    const read = async () => {
      for await (const event of api.watch(
        'StorageClass',
        { resourceVersion: '1', timeoutSeconds: 5 },
        signal,
      )) {
        if (event.type === 'ERROR') throw new ApiError(event.object.code ?? 0, event.object.reason ?? '', '');
      }
    };
    expect(await failureOf(read())).toSatisfy(isExpired);
  });

  it('ends a watch at once when the caller aborts', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const { resourceVersion } = await api.list('Node', {}, signal);
    const options = { resourceVersion, timeoutSeconds: 300, onOpen: () => controller.abort(reason) };
    const read = async () => {
      for await (const event of api.watch('Node', options, controller.signal))
        expect(event.type).toBe('BOOKMARK');
    };
    expect(await failureOf(read())).toBe(reason);
  });
});

describe('access, on the real API server', () => {
  it.skipIf(!hasOpenssl)('is had with a client certificate (skipped without openssl)', async () => {
    const user = {
      'client-certificate-data': base64(clientCertificate?.cert),
      'client-key-data': base64(clientCertificate?.key),
    };
    const known = createKubeApi(loadKubeAccess(await kubeconfigFor('certificate', user)), settings);
    // a member of no group: known by name, allowed nothing
    expect(await failureOf(known.list('PersistentVolume', {}, signal))).toMatchObject({
      status: 403,
      message: expect.stringContaining('User "somebody" cannot list') as string,
    });
    await known.close();
  });

  it('survives a token that is replaced in its file', async () => {
    const tokenFile = join(server.directoryPath, 'rotated-token');
    await writeFile(tokenFile, server.token);
    const user = { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } };
    const access = loadKubeAccess(await kubeconfigFor('token-file', user));
    await writeFile(tokenFile, 'outdated');
    await access.credentials();
    await writeFile(tokenFile, `${server.token}\n`);
    const client = createKubeApi(access, settings);
    expect(await client.list('Node', {}, signal)).toMatchObject({ items: [] });
    await client.close();
  });

  it('is refused with a wrong token, by the server', async () => {
    const client = createKubeApi(loadKubeAccess(await kubeconfigFor('wrong', { token: 'wrong' })), settings);
    expect(await failureOf(client.list('Node', {}, signal))).toMatchObject({
      status: 401,
      reason: 'Unauthorized',
    });
    await client.close();
  });

  it('is refused to a server with a certificate that is not trusted, by us', async () => {
    const path = await kubeconfigFor(
      'distrust',
      { token: server.token },
      { 'certificate-authority': undefined },
    );
    const client = createKubeApi(loadKubeAccess(path), settings);
    const error = await failureOf(client.create('PersistentVolume', volume('never'), signal));
    await client.close();
    expect(error).toBeInstanceOf(ApiUnreachable);
    expect(String(error)).toMatch(/certificate/);
    expect(String(error)).not.toContain(server.token);
  });
});

async function kubeconfigFor(name: string, user: object, cluster: object = {}): Promise<string> {
  const config = JSON.parse(await readFile(server.kubeconfigPath, 'utf8')) as {
    clusters: { cluster: object }[];
  };
  const [{ cluster: known } = { cluster: {} }] = config.clusters;
  const path = join(server.directoryPath, `${name}.kubeconfig`);
  const text = {
    ...config,
    clusters: [{ name: 'test', cluster: { ...known, ...cluster } }],
    users: [{ name: 'admin', user }],
  };
  await writeFile(path, JSON.stringify(text));
  return path;
}

/** A user called somebody, and `user-ca.crt`, which vouches for it. */
function makeClientCertificate(directoryPath: string): { readonly cert: string; readonly key: string } {
  const openssl = (...args: readonly string[]) =>
    execFileSync('/usr/bin/openssl', args, {
      cwd: directoryPath,
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'utf8',
    });
  const newKey = ['-newkey', 'rsa:2048', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'user-ca.key',
    '-out',
    'user-ca.crt',
    '-subj',
    '/CN=users',
    '-days',
    '2',
  );
  openssl('req', ...newKey, '-keyout', 'user.key', '-out', 'user.csr', '-subj', '/CN=somebody');
  const signedBy = ['-CA', 'user-ca.crt', '-CAkey', 'user-ca.key', '-CAcreateserial'];
  const cert = openssl('x509', '-req', '-in', 'user.csr', ...signedBy, '-days', '1');
  return { cert, key: openssl('rsa', '-in', 'user.key') };
}

function claim(name: string, labels: Record<string, string> = {}): PersistentVolumeClaim {
  const resources = { requests: { storage: '1Gi' } };
  return {
    metadata: { name, namespace: 'default', labels },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'none', resources },
  };
}

function volume(name: string) {
  const csi = { driver: 'loam.dev', volumeHandle: name };
  return { metadata: { name }, spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, csi } };
}

function labelled(name: string, value: string) {
  return { metadata: { labels: { [name]: value } } };
}

function base64(text = ''): string {
  return Buffer.from(text).toString('base64');
}
