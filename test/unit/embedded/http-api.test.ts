import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startEmbeddedControlPlane, type EmbeddedControlPlane } from '../../../src/embedded/start.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { aClass } from './builders.ts';

let plane: EmbeddedControlPlane;
const classes = '/apis/storage.k8s.io/v1/storageclasses';
const open: AbortController[] = [];

beforeEach(async () => {
  plane = await startEmbeddedControlPlane({
    nodes: ['a'],
    binder: false,
    scheduler: false,
    clock: systemClock,
    log: silentLog,
    bookmarkPeriodMs: 40,
  });
});
afterEach(async () => {
  for (const watch of open.splice(0)) watch.abort();
  await plane.close();
});

interface Body {
  readonly kind: string;
  readonly reason?: string;
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly { readonly kind?: string; readonly metadata: { readonly name: string } }[];
}
async function ask(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
  const response = await fetch(plane.url + path, {
    method,
    headers: { 'Content-Type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Body };
}
const makeClass = (name: string) => ask('POST', classes, aClass(name));

interface WatchEvent {
  readonly type: string;
  readonly object: {
    readonly code?: number;
    readonly metadata?: { readonly name?: string; readonly resourceVersion?: string };
  };
}
/** Collects a watch's events as they come. */
async function watch(query: string, path = classes) {
  const abort = new AbortController();
  open.push(abort);
  const response = await fetch(`${plane.url}${path}?watch=1&${query}`, { signal: abort.signal });
  const events: WatchEvent[] = [];
  const seen = { status: response.status, events, isOver: false };
  const read = async () => {
    let rest = '';
    for await (const chunk of response.body ?? []) {
      const lines = (rest + Buffer.from(chunk as Uint8Array).toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) events.push(JSON.parse(line) as WatchEvent);
    }
  };
  void read()
    .catch(() => {})
    .finally(() => (seen.isOver = true));
  return seen;
}
const until = (check: () => void) => vi.waitFor(check, { timeout: 3000, interval: 5 });
const names = (events: readonly WatchEvent[]) =>
  events
    .filter(({ type }) => type !== 'BOOKMARK')
    .map(({ type, object }) => `${type} ${object.metadata?.name ?? ''}`);

describe('lists', () => {
  it('come in pages that show one moment, without kinds in the items', async () => {
    for (const name of ['c', 'a', 'b']) await makeClass(name);
    const first = await ask('GET', `${classes}?limit=2`);
    await makeClass('d');
    expect(first.body.items.map(({ metadata }) => metadata.name)).toEqual(['a', 'b']);
    expect(first.body.items[0]?.kind).toBeUndefined();
    const second = await ask('GET', `${classes}?limit=2&continue=${first.body.metadata.continue ?? ''}`);
    expect(second.body.items.map(({ metadata }) => metadata.name)).toEqual(['c']);
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    expect(second.body.metadata.continue).toBeUndefined();
  });

  it('answer 410 for a page token from before a compaction', async () => {
    for (const name of ['a', 'b']) await makeClass(name);
    const { body } = await ask('GET', `${classes}?limit=1`);
    plane.faults.compactHistory();
    const next = await ask('GET', `${classes}?limit=1&continue=${body.metadata.continue ?? ''}`);
    expect(next).toMatchObject({ status: 410, body: { reason: 'Expired' } });
  });

  it('refuse a resourceVersion from the future', async () => {
    expect(await ask('GET', `${classes}?resourceVersion=999999`)).toMatchObject({
      status: 504,
      body: { reason: 'Timeout' },
    });
  });
});

describe('watches', () => {
  it('tell what happened after a resourceVersion and what happens now', async () => {
    const { body } = await ask('GET', classes);
    await makeClass('before');
    const seen = await watch(`resourceVersion=${body.metadata.resourceVersion}`);
    await makeClass('after');
    await ask('DELETE', `${classes}/before`);
    await until(() => expect(names(seen.events)).toEqual(['ADDED before', 'ADDED after', 'DELETED before']));
  });

  it('without a resourceVersion begin with what is there', async () => {
    await makeClass('there');
    const seen = await watch('');
    await until(() => expect(names(seen.events)).toEqual(['ADDED there']));
  });

  it('tell when an object comes into a selection and when it leaves', async () => {
    const { body } = await ask('GET', classes);
    const seen = await watch(`labelSelector=on%3Dyes&resourceVersion=${body.metadata.resourceVersion}`);
    await makeClass('x');
    const label = (on: string | null) =>
      ask(
        'PATCH',
        `${classes}/x`,
        { metadata: { labels: { on } } },
        { 'Content-Type': 'application/merge-patch+json' },
      );
    await label('yes');
    await label('no');
    await until(() => expect(names(seen.events)).toEqual(['ADDED x', 'DELETED x']));
    // as it was before it left, at the version at which it left
    const left = (await ask('GET', `${classes}/x`)).body;
    expect(seen.events[1]?.object.metadata).toMatchObject({
      labels: { on: 'yes' },
      resourceVersion: left.metadata.resourceVersion,
    });
  });

  it('send bookmarks that move with other kinds, and end when their time is over', async () => {
    const { body } = await ask('GET', classes);
    const seen = await watch(
      `allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion=${body.metadata.resourceVersion}`,
    );
    await ask('POST', '/api/v1/namespaces', { metadata: { name: 'other' } });
    const moved = () =>
      seen.events.filter(({ object }) => object.metadata?.resourceVersion !== body.metadata.resourceVersion);
    await until(() => expect(moved()[0]?.type).toBe('BOOKMARK'));
    await until(() => expect(seen.isOver).toBe(true));
  });

  it('answer 410 inside the stream for a resourceVersion that is forgotten', async () => {
    const { body } = await ask('GET', classes);
    await makeClass('a');
    plane.faults.compactHistory();
    const seen = await watch(`resourceVersion=${body.metadata.resourceVersion}`);
    await until(() => expect(seen.events).toMatchObject([{ type: 'ERROR', object: { code: 410 } }]));
    await until(() => expect(seen.isOver).toBe(true));
  });

  it('stream the list itself where that is asked for, and mark its end', async () => {
    await makeClass('a');
    const seen = await watch(
      'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true',
    );
    await until(() => expect(seen.events.map(({ type }) => type).slice(0, 2)).toEqual(['ADDED', 'BOOKMARK']));
    expect(seen.events[1]?.object.metadata).toMatchObject({
      annotations: { 'k8s.io/initial-events-end': 'true' },
    });
  });
});

describe('requests', () => {
  it('that make no sense get a Status', async () => {
    expect(await ask('GET', '/api/v1/widgets')).toMatchObject({
      status: 404,
      body: { kind: 'Status', reason: 'NotFound' },
    });
    expect(await ask('PUT', classes, {})).toMatchObject({ status: 405 });
    expect(await ask('POST', classes, { kind: 'Pod', metadata: { name: 'x' } })).toMatchObject({
      status: 400,
    });
    const wrong = await ask('PATCH', `${classes}/x`, {}, { 'Content-Type': 'text/plain' });
    expect(wrong).toMatchObject({ status: 415, body: { reason: 'UnsupportedMediaType' } });
    const response = await fetch(plane.url + classes, { method: 'POST', body: '{' });
    expect(response.status).toBe(400);
  });

  it('as a Table get the columns of kubectl get', async () => {
    await makeClass('a');
    const accept = { Accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };
    const { body } = await ask('GET', classes, undefined, accept);
    expect(body).toMatchObject({
      kind: 'Table',
      rows: [
        {
          cells: ['a', 'loam.dev', 'Delete', 'Immediate', false, '0s'],
          object: { kind: 'PartialObjectMetadata' },
        },
      ],
    });
  });
});

describe('faults', () => {
  it('refuse the next matching requests, so many and no more, without effect', async () => {
    plane.faults.answerNext(429, { verb: 'create', kind: 'StorageClass' }, 2, 3);
    expect((await ask('GET', classes)).status).toBe(200);
    const refused = await makeClass('a');
    expect(refused).toMatchObject({ status: 429, body: { kind: 'Status', reason: 'TooManyRequests' } });
    expect(refused.headers.get('retry-after')).toBe('3');
    expect((await makeClass('a')).status).toBe(429);
    expect((await makeClass('a')).status).toBe(201);
  });

  it('lose the answer of a request that took effect', async () => {
    plane.faults.loseAnswers({ verb: 'create' });
    await expect(makeClass('a')).rejects.toThrow('fetch failed');
    expect((await ask('GET', `${classes}/a`)).status).toBe(200);
  });

  it('drop watches, of one kind or all', async () => {
    const seen = await watch('');
    const other = await watch('', '/api/v1/pods');
    expect(plane.faults.dropWatches('StorageClass')).toBe(1);
    await until(() => expect(seen.isOver).toBe(true));
    expect(other.isOver).toBe(false);
    expect(plane.faults.dropWatches()).toBe(1);
  });

  it('stall watches, and tell afterwards what was held back', async () => {
    const seen = await watch('');
    plane.faults.stallWatches(true);
    await makeClass('a');
    await ask('GET', classes);
    expect(seen.events).toEqual([]);
    plane.faults.stallWatches(false);
    await until(() => expect(names(seen.events)).toEqual(['ADDED a']));
  });

  it('delay matching requests', async () => {
    plane.faults.slowDown(80, { verb: 'list' });
    const before = performance.now();
    await ask('GET', classes);
    expect(performance.now() - before).toBeGreaterThan(75);
    plane.faults.clear();
  });

  it('refuse connections and accept them again on the same port', async () => {
    await plane.faults.refuseConnections();
    await expect(ask('GET', classes)).rejects.toThrow('fetch failed');
    await plane.faults.acceptConnections();
    expect((await ask('GET', classes)).status).toBe(200);
  });
});
