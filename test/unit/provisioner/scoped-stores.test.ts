import { describe, expect, it } from 'vitest';
import type { KubeApi, ListRequest } from '../../../src/kube/kube-api.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { SharedHandles } from '../../../src/provisioner/reclaim/shared-handles.ts';
import { Watches } from '../../../src/provisioner/watches.ts';
import { FakeKubeApi } from '../../support/fake-kube-api.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const nodeLabel = 'loam.dev/node';
const mine = { [nodeLabel]: 'node-a' };

async function watch(labelValue?: string) {
  const api = new FakeKubeApi();
  const clock = new ManualClock();
  const scope = labelValue === undefined ? {} : { labelValue };
  const watches = new Watches({ api, clock, log: silentLog, metrics: noMetrics, ...scope });
  const stop = new AbortController();
  await watches.start(stop.signal);
  await clock.advance(0);
  return { api, clock, watches, [Symbol.dispose]: () => stop.abort() };
}

const volume = (labels: Record<string, string>, resourceVersion: string): PersistentVolume =>
  aPersistentVolume({ metadata: { labels, resourceVersion } });

describe('the stores of a scoped watch', () => {
  it('hold what has the label, and count it', async () => {
    using world = await watch('node-a');
    for (const [index, labels] of [mine, {}, { [nodeLabel]: 'node-b' }].entries()) {
      const metadata = { name: `data-${index}`, uid: `uid-${index}`, labels };
      world.api.put('PersistentVolumeClaim', aClaim({ metadata }));
      world.api.put(
        'PersistentVolume',
        aPersistentVolume({ metadata: { ...metadata, name: `pv-${index}` } }),
      );
    }
    await world.clock.advance(0);
    expect([...world.watches.claims()].map(({ metadata }) => metadata.name)).toEqual(['data-0']);
    expect([...world.watches.volumes()].map(({ metadata }) => metadata.name)).toEqual(['pv-0']);
    const gauges: unknown[] = [];
    world.watches.measure({ ...noMetrics, gauge: (...said) => void gauges.push(said) });
    expect(gauges).toEqual([
      ['loam_watched_objects', { kind: 'PersistentVolumeClaim' }, 1],
      ['loam_watched_objects', { kind: 'PersistentVolume' }, 1],
    ]);
  });

  it('take no answer without the label in: the watch would never say that it is gone', async () => {
    using world = await watch('node-a');
    world.watches.putVolume(volume({}, '200'));
    expect(world.watches.volume('pvc-uid-1')).toBeUndefined();
    world.watches.putVolume(volume(mine, '201'));
    expect(world.watches.volume('pvc-uid-1')).toBeDefined();
    // what our own write took the label off is gone at once
    world.watches.putVolume(volume({}, '202'));
    expect(world.watches.volume('pvc-uid-1')).toBeUndefined();
  });

  it('keep what is newer than a late answer without the label', async () => {
    using world = await watch('node-a');
    world.watches.putVolume(volume(mine, '300'));
    world.watches.putVolume(volume({}, '299'));
    expect(world.watches.volume('pvc-uid-1')).toBeDefined();
  });

  it('take everything in where nothing is scoped', async () => {
    using world = await watch();
    world.watches.putVolume(volume({}, '200'));
    expect(world.watches.volume('pvc-uid-1')).toBeDefined();
  });
});

describe('who asks which PVs stand for a volume', () => {
  const byHand = (handle: string): PersistentVolume =>
    aPersistentVolume({
      metadata: { name: `pv-${handle}` },
      spec: { csi: { driver: 'x', volumeHandle: handle } },
    });
  const signal = AbortSignal.timeout(10_000);

  /** An API server that answers when it is told to. */
  function slowApi(items: readonly PersistentVolume[]) {
    const asked: ListRequest<PersistentVolume>[] = [];
    const answers: PromiseWithResolvers<void>[] = [];
    const list = async (_: string, request: ListRequest<PersistentVolume>) => {
      asked.push(request);
      const answered = Promise.withResolvers<void>();
      answers.push(answered);
      await answered.promise;
      return { items: items.filter(request.keep ?? (() => true)), resourceVersion: '1' };
    };
    const answer = async () => {
      await until(() => answers.length > 0);
      answers.shift()?.resolve();
    };
    const fail = async () => {
      await until(() => answers.length > 0);
      answers.shift()?.reject(new Error('aborted'));
    };
    // nothing else is asked of it
    return { api: { list } as unknown as KubeApi, asked, answer, fail };
  }

  async function until(condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < 1_000 && !condition(); turn += 1) await Promise.resolve();
    expect(condition()).toBe(true);
  }

  const names = (volumes: readonly PersistentVolume[]) => volumes.map(({ metadata }) => metadata.name);

  it('gets those without a label from the API server, and holds no others', async () => {
    using world = await watch('node-a');
    const slow = slowApi(['a', 'b', 'c'].map(byHand));
    const shared = new SharedHandles({ api: slow.api, watches: world.watches });
    world.watches.putVolume({
      ...byHand('a'),
      metadata: { name: 'known', labels: mine, resourceVersion: '5' },
    });
    const found = shared.volumesOfHandle('a', signal);
    await slow.answer();
    expect(names(await found)).toEqual(['known', 'pv-a']);
    expect(slow.asked).toMatchObject([{ labelSelector: `!${nodeLabel}` }]);
    expect(slow.asked[0]?.keep?.(byHand('b'))).toBe(false);
  });

  it('shares the next answer with all who wait, and never takes one that was under way', async () => {
    using world = await watch('node-a');
    const slow = slowApi(['a', 'b', 'c'].map(byHand));
    const shared = new SharedHandles({ api: slow.api, watches: world.watches });
    const first = shared.volumesOfHandle('a', signal);
    await until(() => slow.asked.length === 1);
    const later = ['b', 'c', 'a'].map((handle) => shared.volumesOfHandle(handle, signal));
    await slow.answer();
    expect(names(await first)).toEqual(['pv-a']);
    await slow.answer();
    expect((await Promise.all(later)).map(names)).toEqual([['pv-b'], ['pv-c'], ['pv-a']]);
    expect(slow.asked).toHaveLength(2);
  });

  it('looks again for those who share the look of somebody who gives up', async () => {
    using world = await watch('node-a');
    const slow = slowApi(['a', 'b'].map(byHand));
    const shared = new SharedHandles({ api: slow.api, watches: world.watches });
    const impatient = new AbortController();
    const given = shared.volumesOfHandle('a', impatient.signal).catch(() => 'given up');
    await until(() => slow.asked.length === 1);
    const waiting = shared.volumesOfHandle('b', impatient.signal).catch(() => 'given up');
    const patient = shared.volumesOfHandle('b', signal);
    await slow.answer();
    await until(() => slow.asked.length === 2);
    impatient.abort();
    await slow.fail();
    expect(await given).toMatchObject([{ metadata: { name: 'pv-a' } }]);
    expect(await waiting).toBe('given up');
    await until(() => slow.asked.length === 3);
    await slow.answer();
    expect(names(await patient)).toEqual(['pv-b']);
  });

  it('asks nobody where the watch sees everything', async () => {
    using world = await watch();
    const slow = slowApi([]);
    world.watches.putVolume(byHand('a'));
    const shared = new SharedHandles({ api: slow.api, watches: world.watches });
    expect(names(await shared.volumesOfHandle('a', signal))).toEqual(['pv-a']);
    expect(slow.asked).toEqual([]);
  });
});
