import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Credentials, KubeAccess } from '../../../src/kube/access.ts';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { createKubeApi, plainKubeAccess } from '../../../src/kube/client.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { failureOf } from '../../support/failure-of.ts';
import { failure, hangUp, json, ScriptedServer } from '../../support/scripted-server.ts';

const { signal } = new AbortController();
const key = { namespace: 'team', name: 'data' };
const claim = { metadata: { ...key, resourceVersion: '7' }, spec: {} };

let server: ScriptedServer;
let api: ReturnType<typeof createKubeApi>;

beforeEach(async () => {
  server = await ScriptedServer.start();
  api = createKubeApi(plainKubeAccess(server.url), { metrics: noMetrics, userAgent: 'loam/test' });
});
afterEach(async () => {
  await api.close();
  await server.stop();
});

describe('a request to the API server', () => {
  it('says who asks and reads JSON, over few connections that are kept', async () => {
    server.answer = json(claim);
    for (let i = 0; i < 20; i += 1)
      expect(await api.get('PersistentVolumeClaim', key, signal)).toEqual(claim);
    expect(server.requests[0]).toMatchObject({
      method: 'GET',
      path: '/api/v1/namespaces/team/persistentvolumeclaims/data',
      headers: { 'user-agent': 'loam/test', accept: 'application/json' },
    });
    expect(server.connections).toBeLessThanOrEqual(4);
  });

  it('keeps its connection over deletes, too', async () => {
    server.answer = json({});
    for (let i = 0; i < 10; i += 1) await api.remove('PersistentVolumeClaim', key, signal, { uid: 'u' });
    expect(server.connections).toBeLessThanOrEqual(4);
  });

  it('drops managedFields', async () => {
    server.answer = json({
      ...claim,
      metadata: { ...claim.metadata, managedFields: [{ manager: 'kubectl' }] },
    });
    expect(await api.get('PersistentVolumeClaim', key, signal)).toEqual(claim);
  });

  it.each([
    ['merge', { type: 'merge', body: { a: 1 } }, 'application/merge-patch+json'],
    ['strategic', { type: 'strategic', body: { a: 1 } }, 'application/strategic-merge-patch+json'],
    ['json', { type: 'json', body: [{ op: 'remove', path: '/a' }] }, 'application/json-patch+json'],
  ] as const)('sends a %s patch under its own type, to the subresource asked for', async (_, patch, type) => {
    server.answer = json(claim);
    await api.patch('PersistentVolume', { name: 'pv' }, patch, signal, 'status');
    expect(server.requests[0]).toMatchObject({
      method: 'PATCH',
      path: '/api/v1/persistentvolumes/pv/status',
      headers: { 'content-type': type },
      body: JSON.stringify(patch.body),
    });
  });

  it('creates with kind and version filled in, in the namespace of the object', async () => {
    server.answer = json(claim, 201);
    await api.create('PersistentVolumeClaim', claim, signal);
    expect(server.requests[0]?.path).toBe('/api/v1/namespaces/team/persistentvolumeclaims');
    expect(JSON.parse(server.requests[0]?.body ?? '')).toMatchObject({
      kind: 'PersistentVolumeClaim',
      apiVersion: 'v1',
    });
  });

  it('removes under its preconditions', async () => {
    server.answer = json({});
    await api.remove('PersistentVolume', { name: 'pv' }, signal, { uid: 'u', resourceVersion: '3' });
    expect(server.requests[0]).toMatchObject({ method: 'DELETE', path: '/api/v1/persistentvolumes/pv' });
    expect(JSON.parse(server.requests[0]?.body ?? '')).toMatchObject({
      preconditions: { uid: 'u', resourceVersion: '3' },
    });
  });

  it.each(['../secrets', 'a/b', '..', '', 'a%2fb'])(
    'is refused for the name "%s", which would reach something else',
    async (name) => {
      await expect(api.get('PersistentVolume', { name }, signal)).rejects.toThrow(TypeError);
      expect(server.requests).toEqual([]);
    },
  );
});

describe('a failure', () => {
  it('carries the status, reason and message of the server', async () => {
    server.answer = failure(409, 'AlreadyExists');
    const error = await failureOf(
      api.create('PersistentVolume', { metadata: { name: 'pv' }, spec: {} }, signal),
    );
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      status: 409,
      reason: 'AlreadyExists',
      message: 'the test answers AlreadyExists',
    });
  });

  it('of something between us and the server is told with the beginning of its text', async () => {
    server.answer = (_, response) => response.writeHead(413).end('<html>too large</html>');
    const error = await failureOf(api.get('PersistentVolumeClaim', key, signal));
    expect(error).toMatchObject({
      status: 413,
      reason: 'Unknown',
      message: 'the API server answered 413: <html>too large</html>',
    });
  });

  it.each([
    ['429', failure(429, 'TooManyRequests', { 'retry-after': '0' })],
    ['500', failure(500, 'InternalError')],
    ['503', failure(503, 'ServiceUnavailable')],
    ['a broken connection', hangUp],
  ])('of a read by %s is tried again', async (_, answer) => {
    server.script(answer, answer, json(claim));
    expect(await api.get('PersistentVolumeClaim', key, signal)).toEqual(claim);
    expect(server.requests).toHaveLength(3);
  });

  it('of a read is told after four tries', async () => {
    server.answer = failure(500, 'InternalError');
    expect(await failureOf(api.get('PersistentVolumeClaim', key, signal))).toMatchObject({ status: 500 });
    expect(server.requests).toHaveLength(4);
  });

  it('of a write is tried again after 429 only, since the server did nothing then', async () => {
    server.script(failure(429, 'TooManyRequests', { 'retry-after': '0' }), json(claim, 201));
    expect(await api.create('PersistentVolumeClaim', claim, signal)).toEqual(claim);

    server.answer = failure(500, 'InternalError');
    expect(await failureOf(api.create('PersistentVolumeClaim', claim, signal))).toMatchObject({
      status: 500,
    });
    server.answer = hangUp;
    expect(await failureOf(api.create('PersistentVolumeClaim', claim, signal))).toBeInstanceOf(
      ApiUnreachable,
    );
    expect(server.requests).toHaveLength(4);
  });

  it('with a Retry-After beyond patience is handed on at once', async () => {
    server.answer = failure(429, 'TooManyRequests', { 'retry-after': '60' });
    expect(await failureOf(api.get('PersistentVolumeClaim', key, signal))).toMatchObject({
      status: 429,
      retryAfterMs: 60_000,
    });
    expect(server.requests).toHaveLength(1);
  });

  it('by time limit says how long it waited and is not repeated', async () => {
    const hasty = createKubeApi(plainKubeAccess(server.url), {
      metrics: noMetrics,
      userAgent: 'loam/test',
      requestTimeoutMs: 100,
    });
    server.answer = () => {};
    const error = await failureOf(hasty.get('PersistentVolumeClaim', key, signal));
    await hasty.close();
    expect(error).toBeInstanceOf(ApiUnreachable);
    expect(String(error)).toContain('no answer within 0.1 s');
    expect(server.requests).toHaveLength(1);
  });

  it('by the caller aborting is the reason that the caller gave, also while waiting for the next try', async () => {
    const reason = new Error('shutting down');
    for (const answer of [() => {}, failure(429, 'TooManyRequests', { 'retry-after': '5' })]) {
      const controller = new AbortController();
      server.answer = (request, response) => {
        setTimeout(() => controller.abort(reason), 20);
        answer(request, response);
      };
      expect(await failureOf(api.get('PersistentVolumeClaim', key, controller.signal))).toBe(reason);
    }
  });
});

describe('a list', () => {
  const page = (names: readonly string[], next: string) =>
    json({
      items: names.map((name) => ({ metadata: { name } })),
      metadata: { resourceVersion: '50', continue: next },
    });

  it('follows its pages', async () => {
    server.script(page(['a', 'b'], 'more'), page(['c'], ''));
    const list = await api.list('PersistentVolume', { labelSelector: 'x=y' }, signal);
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(['a', 'b', 'c']);
    expect(list.resourceVersion).toBe('50');
    expect(server.requests.map(({ query }) => [...query])).toEqual([
      [
        ['limit', '500'],
        ['labelSelector', 'x=y'],
      ],
      [
        ['limit', '500'],
        ['continue', 'more'],
        ['labelSelector', 'x=y'],
      ],
    ]);
  });

  it('begins once more when its later pages have expired', async () => {
    server.script(page(['old'], 'more'), failure(410, 'Expired'), page(['new'], ''));
    const list = await api.list('PersistentVolume', {}, signal);
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(['new']);
  });
});

describe('authentication', () => {
  it('is read anew after a 401, once, for all requests that met it', async () => {
    const access = new TokenAccess(server.url, 'old');
    const client = createKubeApi(access, { metrics: noMetrics, userAgent: 'loam/test' });
    server.answer = ({ headers }, response) =>
      (headers.authorization === 'Bearer new' ? json(claim) : failure(401, 'Unauthorized'))(
        {} as never,
        response,
      );
    await client.get('PersistentVolumeClaim', key, signal).catch(() => {});
    access.token = 'new';
    const claims = await Promise.all(
      Array.from({ length: 5 }, () => client.get('PersistentVolumeClaim', key, signal)),
    );
    await client.close();
    expect(claims).toEqual(Array.from({ length: 5 }, () => claim));
    expect(access.freshReads).toBe(2);
  });

  it('that stays refused is told, without a third try', async () => {
    server.answer = failure(401, 'Unauthorized');
    expect(await failureOf(api.get('PersistentVolumeClaim', key, signal))).toMatchObject({ status: 401 });
    expect(server.requests).toHaveLength(2);
  });
});

/** A token that can be replaced, as a projected service account token is. */
class TokenAccess implements KubeAccess {
  readonly server: string;
  readonly proxyUrl = undefined;
  token: string;
  freshReads = 0;
  #cached: Credentials | undefined;

  constructor(server: string, token: string) {
    this.server = server;
    this.token = token;
  }

  credentials({ fresh = false }: { readonly fresh?: boolean } = {}): Promise<Credentials> {
    if (fresh) this.freshReads += 1;
    if (fresh || this.#cached === undefined)
      this.#cached = { headers: { authorization: `Bearer ${this.token}` }, tls: {} };
    return Promise.resolve(this.#cached);
  }
}
