import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import type { VolumeSnapshotClass } from '../../../src/kube/objects.ts';
import { OptionalReflector } from '../../../src/kube/optional-reflector.ts';
import { ObjectStore } from '../../../src/kube/store.ts';
import type { Log } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const kind = 'VolumeSnapshotClass';
const notServed = new ApiError(404, 'NotFound', 'the server could not find the requested resource');
const forbidden = new ApiError(403, 'Forbidden', 'may not list');

let api: FakeKubeApi;
let clock: ManualClock;
let stop: AbortController;
let logged: string[];
let seen: string[];
let store: ObjectStore<VolumeSnapshotClass>;
let reflector: OptionalReflector<typeof kind>;

beforeEach(() => {
  api = new FakeKubeApi();
  clock = new ManualClock();
  stop = new AbortController();
  [logged, seen] = [[], []];
  const write = (_: object, message: string): void => void logged.push(message);
  const log: Log = { debug: () => {}, info: write, warn: write, error: write, child: () => log };
  store = new ObjectStore();
  reflector = new OptionalReflector({ api, kind, store, clock, log, metrics: noMetrics });
  reflector.onChange(({ previous, current }) => {
    seen.push(current === undefined ? `-${previous?.metadata.name}` : `+${current.metadata.name}`);
  });
});
afterEach(() => stop.abort());

function put(name: string): void {
  api.put(kind, { metadata: { name }, driver: 'loam.dev', deletionPolicy: 'Delete' });
}

describe('a reflector of a kind that the cluster may not have', () => {
  it('is like any other where it has', async () => {
    put('a');
    reflector.start(stop.signal);
    await reflector.settled;
    put('b');
    await clock.advance(0);
    expect(seen).toEqual(['+a', '+b']);
    expect([reflector.isServed(), reflector.isLive()]).toEqual([true, true]);
  });

  it.each([notServed, forbidden])('is settled, empty and quiet where it has not: $reason', async (error) => {
    api.fail('list', kind, error, { times: 1_000 });
    reflector.start(stop.signal);
    await reflector.settled;
    await clock.advance(60 * 60_000);
    expect([reflector.isServed(), reflector.isLive(), seen]).toEqual([false, false, []]);
    expect(logged).toHaveLength(1);
    const lists = api.calls.filter(({ verb }) => verb === 'list').length;
    expect(lists).toBeGreaterThan(50);
    expect(lists).toBeLessThan(95);
  });

  it('notices within a minute that it has come', async () => {
    api.fail('list', kind, notServed);
    put('a');
    reflector.start(stop.signal);
    await reflector.settled;
    expect(seen).toEqual([]);
    await clock.advance(61_000);
    put('b');
    await clock.advance(0);
    expect([seen, reflector.isServed()]).toEqual([['+a', '+b'], true]);
  });

  it('forgets what there was when it is taken away, and finds it again', async () => {
    put('a');
    reflector.start(stop.signal);
    await clock.advance(0);
    api.goDeaf();
    api.fail('list', kind, notServed, { times: 1 });
    api.fail(
      'watch',
      kind,
      new ApiError(404, 'NotFound', 'the server could not find the requested resource'),
    );
    await clock.advance(0);
    api.hearAgain();
    await clock.advance(50_000);
    expect([seen, reflector.isServed()]).toEqual([['+a', '-a'], false]);
    await clock.advance(61_000);
    expect([seen, reflector.isServed()]).toEqual([['+a', '-a', '+a'], true]);
  });

  it('waits, unsettled, for an API server that is not there', async () => {
    let isSettled = false;
    void reflector.settled.then(() => void (isSettled = true));
    api.goDeaf();
    reflector.start(stop.signal);
    await clock.advance(30_000);
    expect(isSettled).toBe(false);
    api.hearAgain();
    await clock.advance(60_000);
    expect([isSettled, reflector.isServed()]).toEqual([true, true]);
  });

  it('ends with its signal', async () => {
    api.fail('list', kind, notServed, { times: 1_000 });
    reflector.start(stop.signal);
    await clock.advance(0);
    stop.abort();
    const before = api.calls.length;
    await clock.advance(10 * 60_000);
    expect(api.calls.length).toBe(before);
  });
});
