import { beforeEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import type { KindName, Kinds } from '../../../src/kube/kinds.ts';
import type { KubeApi, ObjectKey, Patch } from '../../../src/kube/kube-api.ts';
import type { KubeEvent } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const { signal } = new AbortController();
const claim = { metadata: { namespace: 'team', name: 'data', uid: 'u1', resourceVersion: '7' }, spec: {} };

let clock: ManualClock;
let server: EventServer;
let recorder: EventRecorder;

beforeEach(() => {
  clock = new ManualClock();
  server = new EventServer();
  recorder = new EventRecorder({ api: server, component: 'loam.dev', host: 'node-a', clock, log: silentLog });
});

describe('an event', () => {
  it('names its object, its source and its times', async () => {
    say('Normal', 'Provisioning', 'making the volume');
    await recorder.flush(signal);
    const [event] = server.events.values();
    expect(event).toMatchObject({
      metadata: { namespace: 'team' },
      involvedObject: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        namespace: 'team',
        name: 'data',
        uid: 'u1',
      },
      type: 'Normal',
      reason: 'Provisioning',
      message: 'making the volume',
      source: { component: 'loam.dev', host: 'node-a' },
      firstTimestamp: '2023-11-14T22:13:20.000Z',
      lastTimestamp: '2023-11-14T22:13:20.000Z',
      count: 1,
    });
    expect(event?.metadata.name).toMatch(/^data\.[0-9a-f]{16}$/);
  });

  it('on something cluster-wide lies in the namespace default', async () => {
    recorder.record(
      { kind: 'PersistentVolume', object: { metadata: { name: 'pv' } } },
      'Warning',
      'VolumeFailedDelete',
      'busy',
    );
    await recorder.flush(signal);
    const [event] = server.events.values();
    expect(event?.metadata.namespace).toBe('default');
    expect(event?.involvedObject.namespace).toBeUndefined();
  });

  it('said again is counted, not written again', async () => {
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    await clock.advance(60_000);
    say('Warning', 'ProvisioningFailed', 'no space');
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    expect([...server.events.values()]).toMatchObject([
      { count: 3, lastTimestamp: '2023-11-14T22:14:20.000Z' },
    ]);
    expect(server.calls.length).toBeLessThanOrEqual(3);
  });

  it('said again after a long silence is a new one', async () => {
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    await clock.advance(11 * 60_000);
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    expect(server.events.size).toBe(2);
  });

  it('that expired on the server meanwhile is written again', async () => {
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    server.events.clear();
    say('Warning', 'ProvisioningFailed', 'no space');
    await recorder.flush(signal);
    expect([...server.events.values()]).toMatchObject([{ count: 2 }]);
  });

  it('whose answer got lost is there once', async () => {
    server.afterCreate = [new ApiUnreachable('reset')];
    say('Normal', 'Provisioning', 'making the volume');
    await settle();
    expect(server.events.size).toBe(1);
    expect(server.calls).toEqual(['create', 'create']);
    expect(recorder.dropped).toBe(0);
  });

  it('is cut where it is too long, and counted where it reads the same then', async () => {
    for (const each of ['x', 'y'])
      say('Warning', 'ProvisioningFailed', `${'語'.repeat(2_000)}${each}${'語'.repeat(2_000)}`);
    await recorder.flush(signal);
    expect([...server.events.values()]).toMatchObject([{ count: 2 }]);
    const [event] = server.events.values();
    expect(Buffer.byteLength(event?.message ?? '')).toBeLessThanOrEqual(1_024);
  });

  it('has a name that is one, wherever that of its object is cut', async () => {
    const dnsName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
    for (const between of ['.', '-', '--'])
      for (const at of [227, 228, 229, 230]) {
        const name = `${'n'.repeat(at)}${between}`.padEnd(253, 'z');
        expect(name).toMatch(dnsName);
        const object = { metadata: { ...claim.metadata, name } };
        recorder.record({ kind: 'PersistentVolumeClaim', object }, 'Normal', 'Provisioning', 'at work');
      }
    await recorder.flush(signal);
    const names = [...server.events.keys()];
    expect(names).toHaveLength(12);
    for (const name of names) {
      expect(name.length).toBeLessThanOrEqual(253);
      expect(name).toMatch(dnsName);
    }
  });
});

describe('the recorder', () => {
  it('gives up while the API is down, counts that, and goes on when it is back', async () => {
    server.failing = new ApiUnreachable('refused');
    say('Normal', 'One', 'first');
    say('Normal', 'Two', 'second');
    await settle();
    expect(recorder.dropped).toBe(2);
    server.failing = undefined;
    say('Normal', 'One', 'first');
    await recorder.flush(signal);
    expect([...server.events.values()]).toMatchObject([{ reason: 'One', count: 2 }]);
  });

  it('tries again when the server is only busy', async () => {
    server.failing = new ApiError(429, 'TooManyRequests', 'busy');
    say('Normal', 'One', 'first');
    await clock.advance(100);
    server.failing = undefined;
    await settle();
    expect(server.events.size).toBe(1);
  });

  it.each([403, 404])('ignores a namespace that is gone or going, told by %i', async (status) => {
    server.failing = new ApiError(status, 'Forbidden', 'it is being terminated');
    say('Normal', 'One', 'first');
    await recorder.flush(signal);
    expect(server.calls).toHaveLength(1);
    expect(recorder.dropped).toBe(0);
  });

  it('holds a bounded number of events', async () => {
    server.failing = new ApiUnreachable('refused');
    for (let i = 0; i < 2_000; i += 1) say('Normal', 'Many', `number ${i}`);
    expect(recorder.dropped).toBeGreaterThan(1_400);
    const hurry = new AbortController();
    hurry.abort();
    await recorder.flush(hurry.signal);
    expect(recorder.dropped).toBe(2_000);
  });
});

function say(type: 'Normal' | 'Warning', reason: string, message: string): void {
  recorder.record({ kind: 'PersistentVolumeClaim', object: claim }, type, reason, message);
}

/** With time for every retry. */
async function settle(): Promise<void> {
  await clock.advance(120_000);
  await recorder.flush(signal);
}

/** As much of an API server as events need. */
class EventServer implements KubeApi {
  readonly events = new Map<string, KubeEvent>();
  readonly calls: string[] = [];
  failing: Error | undefined;
  /** thrown after the event was stored */
  afterCreate: Error[] = [];

  create<K extends KindName>(_: K, object: Kinds[K]): Promise<Kinds[K]> {
    this.calls.push('create');
    if (this.failing !== undefined) return Promise.reject(this.failing);
    const { name } = object.metadata;
    if (this.events.has(name)) return Promise.reject(new ApiError(409, 'AlreadyExists', `${name} exists`));
    this.events.set(name, object as KubeEvent);
    const lost = this.afterCreate.shift();
    return lost === undefined ? Promise.resolve(object) : Promise.reject(lost);
  }

  patch<K extends KindName>(_: K, { name }: ObjectKey, patch: Patch): Promise<Kinds[K]> {
    this.calls.push('patch');
    if (this.failing !== undefined) return Promise.reject(this.failing);
    const known = this.events.get(name);
    if (known === undefined) return Promise.reject(new ApiError(404, 'NotFound', `${name} is not there`));
    const patched = Object.assign({}, known, patch.body);
    this.events.set(name, patched);
    return Promise.resolve(patched as Kinds[K]);
  }

  get = unused;
  list = unused;
  remove = unused;
  watch = unused;
}

function unused(): never {
  throw new Error('not for events');
}
