import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createKubeApi, plainKubeAccess } from '../../../src/kube/client.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { longestSilenceMs, Reflector } from '../../../src/kube/reflector.ts';
import { ObjectStore } from '../../../src/kube/store.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { failure, hangUp, json, ScriptedServer, type SeenRequest } from '../../support/scripted-server.ts';

let server: ScriptedServer;
let api: ReturnType<typeof createKubeApi>;
let clock: ManualClock;
let stop: AbortController;
let store: ObjectStore<PersistentVolume>;
let reflector: Reflector<'PersistentVolume'>;
let changes: string[];

/** what the next list answers */
let listed: PersistentVolume[];
let listVersion: string;
/** the watches that are open, oldest first */
let watches: ServerResponse[];
/** answers to the next watches, instead of opening them */
let refusals: ((request: SeenRequest, response: ServerResponse) => void)[];

beforeEach(async () => {
  [listed, listVersion, watches, refusals, changes] = [[pv('a', 5)], '10', [], [], []];
  server = await ScriptedServer.start((request, response) => {
    if (request.query.get('watch') !== 'true') {
      json({ items: listed, metadata: { resourceVersion: listVersion } })(request, response);
      return;
    }
    const refuse = refusals.shift();
    if (refuse !== undefined) {
      refuse(request, response);
      return;
    }
    response.writeHead(200).flushHeaders();
    watches.push(response);
  });
  api = createKubeApi(plainKubeAccess(server.url), { metrics: noMetrics, userAgent: 'loam/test' });
  clock = new ManualClock();
  stop = new AbortController();
  store = new ObjectStore();
  reflector = new Reflector({
    api,
    kind: 'PersistentVolume',
    store,
    clock,
    log: silentLog,
    metrics: noMetrics,
  });
  reflector.onChange(({ previous, current }) => {
    const said = (object: PersistentVolume | undefined) => object?.metadata.resourceVersion ?? '-';
    changes.push(`${(current ?? previous)?.metadata.name}:${said(previous)}>${said(current)}`);
  });
});
afterEach(async () => {
  stop.abort();
  await api.close();
  await server.stop();
});

describe('the reflector', () => {
  it('lists, says that it is in step, then follows the watch', async () => {
    expect(reflector.isLive()).toBe(false);
    reflector.start(stop.signal);
    await reflector.synced;
    expect(changes).toEqual(['a:->5']);
    await watching(1);
    send('ADDED', pv('b', 11));
    send('MODIFIED', pv('a', 12));
    send('DELETED', pv('b', 13));
    await vi.waitFor(() => expect(changes).toEqual(['a:->5', 'b:->11', 'a:5>12', 'b:11>-']));
    expect(reflector.isLive()).toBe(true);
    expect(watchRequests()[0]).toMatchObject({ allowWatchBookmarks: 'true', resourceVersion: '10' });
    expect(Number(watchRequests()[0]?.['timeoutSeconds'])).toBeGreaterThanOrEqual(300);
  });

  it('is live as soon as the server has accepted the watch, without any event', async () => {
    reflector.start(stop.signal);
    await watching(1);
    await clock.advance(60_000);
    await vi.waitFor(() => expect(reflector.isLive()).toBe(true));
  });

  it('goes on from the last bookmark when the server ends the watch', async () => {
    await started();
    send('BOOKMARK', pv('', 90));
    watches[0]?.end();
    await watching(2);
    expect(watchRequests().map(({ resourceVersion }) => resourceVersion)).toEqual(['10', '90']);
    expect(lists()).toBe(1);
  });

  it('goes on after a broken connection, in the middle of a line too, with a pause and not live in between', async () => {
    await started();
    send('ADDED', pv('b', 20));
    watches[0]?.write('{"type":"ADDED","object":{"meta');
    await vi.waitFor(() => expect(changes).toContain('b:->20'));
    watches[0]?.destroy();
    await vi.waitFor(() => expect(reflector.isLive()).toBe(false));
    await waiting();
    await clock.advance(800);
    await watching(2);
    send('ADDED', pv('c', 21));
    await vi.waitFor(() => expect(changes).toContain('c:->21'));
    expect(watchRequests()[1]).toMatchObject({ resourceVersion: '20' });
    expect(reflector.isLive()).toBe(true);
  });

  it.each([
    ['as an answer', () => refusals.push(failure(410, 'Expired'))],
    ['as an event', () => sendError(410, 'Expired')],
  ])('lists again when its place is too old, told %s, and announces what vanished', async (_, expire) => {
    await started();
    [listed, listVersion] = [[pv('b', 30)], '40'];
    await clock.advance(60_000);
    expire();
    watches[0]?.end();
    await watching(2);
    expect(changes).toEqual(['a:->5', 'b:->30', 'a:5>-']);
    expect(watchRequests().at(-1)).toMatchObject({ resourceVersion: '40' });
    expect(lists()).toBe(2);
  });

  it('lists at once when a server that was away is back and its place is too old, but not again and again', async () => {
    await started();
    [listed, listVersion] = [[pv('b', 30)], '40'];
    refusals.push(hangUp, hangUp, hangUp, failure(410, 'Expired'));
    watches[0]?.destroy();
    while (refusals.length > 0) {
      await waiting();
      // nobody lists while nobody answers
      expect(lists()).toBe(1);
      const seen = watchRequests().length;
      while (watchRequests().length === seen) await clock.advance(50);
    }
    await watching(2);
    expect(lists()).toBe(2);
    expect(store.get('b')).toBeDefined();

    refusals.push(failure(410, 'Expired'), failure(410, 'Expired'));
    watches[1]?.destroy();
    await waiting();
    await clock.advance(60_000);
    await waiting();
    expect(lists()).toBeLessThanOrEqual(3);
  });

  it('lists again when the server goes back in time, as after a restore of etcd', async () => {
    await started();
    [listed, listVersion] = [[pv('a', 3)], '4'];
    send('BOOKMARK', pv('', 4));
    await watching(2);
    expect(changes).toEqual(['a:->5', 'a:5>3']);
  });

  it('waits ever longer while the server refuses, and is patient again only after news', async () => {
    await started();
    refusals.push(failure(429, 'TooManyRequests'), failure(500, 'InternalError'), hangUp);
    watches[0]?.destroy();
    const waitsMs: number[] = [];
    while (watches.length < 2) {
      await waiting();
      const beforeMs = clock.nowMs();
      const seen = watchRequests().length;
      while (watchRequests().length === seen) await clock.advance(50);
      waitsMs.push(clock.nowMs() - beforeMs);
      await vi.waitFor(() =>
        expect(refusals.length === 0 && watches.length === 2 ? 1 : clock.waiting).toBeGreaterThan(0),
      );
    }
    expect(waitsMs).toHaveLength(4);
    expect(waitsMs[3]).toBeGreaterThan((waitsMs[0] ?? 0) * 4);
    await watching(2);
    expect(lists()).toBe(1);

    send('BOOKMARK', pv('', 30));
    await vi.waitFor(() => expect(reflector.lastContactAgeMs()).toBe(0));
    await clock.advance(1_000);
    send('ADDED', pv('b', 31));
    await vi.waitFor(() => expect(store.get('b')).toBeDefined());
    watches[1]?.destroy();
    await waiting();
    await clock.advance(800);
    await watching(3);
  });

  it('does not open watch after watch where each ends as soon as it begins', async () => {
    await started();
    await clock.advance(2_000);
    refusals.push(
      ...Array.from(
        { length: 50 },
        () => (_: SeenRequest, response: ServerResponse) => response.writeHead(200).end(),
      ),
    );
    watches[0]?.end();
    await waiting();
    await new Promise((resolve) => setImmediate(resolve));
    expect(watchRequests()).toHaveLength(2);
  });

  it('cuts a watch that brings nothing, not even bookmarks, and goes on from where it was', async () => {
    await started();
    await clock.advance(100_000);
    send('BOOKMARK', pv('', 70));
    await vi.waitFor(() => expect(reflector.lastContactAgeMs()).toBe(0));
    await clock.advance(149_000);
    expect(reflector.isLive()).toBe(true);
    await clock.advance(2_000);
    await vi.waitFor(() => expect(clock.waiting > 0 || watches.length === 2).toBe(true));
    await clock.advance(1_000);
    await watching(2);
    expect(watchRequests()[1]).toMatchObject({ resourceVersion: '70' });
  });

  it('opens another watch at once where the server has no bookmarks to send', async () => {
    await started();
    for (let count = 2; count < 10; count += 1) {
      await clock.advance(150_000);
      expect(reflector.lastContactAgeMs()).toBeLessThan(longestSilenceMs);
      // without any time passing: news of the meantime are not kept waiting
      await watching(count);
      await vi.waitFor(() => expect(reflector.isLive()).toBe(true));
      expect(reflector.lastContactAgeMs()).toBe(0);
    }
  });

  it('keeps an answer written through that the watch has not reached', async () => {
    await started();
    store.put(pv('a', 50));
    send('MODIFIED', pv('a', 20));
    send('MODIFIED', pv('a', 50));
    send('MODIFIED', pv('a', 51));
    await vi.waitFor(() => expect(changes).toEqual(['a:->5', 'a:5>50', 'a:50>51']));
  });

  it('survives a handler that throws', async () => {
    reflector.onChange(() => {
      throw new Error('a bug');
    });
    await started();
    send('ADDED', pv('b', 11));
    await vi.waitFor(() => expect(store.get('b')).toBeDefined());
    expect(reflector.isLive()).toBe(true);
  });

  it.each([
    ['before the first answer', () => Promise.resolve()],
    ['while it watches', () => watching(1)],
    [
      'while it waits',
      async () => {
        await watching(1);
        watches[0]?.destroy();
        await waiting();
      },
    ],
  ])('stops for good when told so %s', async (_, moment) => {
    reflector.start(stop.signal);
    await moment();
    stop.abort(new Error('enough'));
    await vi.waitFor(() => expect(reflector.isLive()).toBe(false));
    await clock.advance(120_000);
    const seen = server.requests.length;
    await clock.advance(120_000);
    expect(server.requests).toHaveLength(seen);
    expect(clock.waiting).toBe(0);
  });

  it('lets nobody wait for ever who waits for the first list of a reflector that was stopped', async () => {
    reflector.start(stop.signal);
    stop.abort(new Error('enough'));
    await expect(reflector.synced).rejects.toThrow('enough');
  });
});

async function started(): Promise<void> {
  reflector.start(stop.signal);
  await watching(1);
}

function watching(count: number): Promise<void> {
  return vi.waitFor(() => {
    expect(watches).toHaveLength(count);
    expect(reflector.isLive()).toBe(true);
  });
}

/** for the reflector to sleep */
function waiting(): Promise<void> {
  return vi.waitFor(() => {
    expect(reflector.isLive()).toBe(false);
    expect(clock.waiting).toBe(1);
  });
}

function send(type: string, object: PersistentVolume): void {
  watches.at(-1)?.write(`${JSON.stringify({ type, object })}\n`);
}

function sendError(code: number, reason: string): void {
  watches.at(-1)?.write(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code, reason } })}\n`);
}

function watchRequests(): Record<string, string>[] {
  return server.requests
    .filter(({ query }) => query.has('watch'))
    .map(({ query }) => Object.fromEntries(query));
}

function lists(): number {
  return server.requests.filter(({ query }) => !query.has('watch')).length;
}

function pv(name: string, version: number): PersistentVolume {
  return { metadata: { name, uid: name, resourceVersion: String(version) }, spec: {} };
}
