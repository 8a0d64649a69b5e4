import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VolumeCondition } from '../../../src/model/csi-driver.ts';
import { silentLog } from '../../../src/model/log.ts';
import { ConditionLoop, type ConditionSource } from '../../../src/provisioner/conditions/condition-loop.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { own } from './own-side.ts';

const healthy: VolumeCondition = { abnormal: false, message: '' };
const abnormal = (message: string): VolumeCondition => ({ abnormal: true, message });

let clock: ManualClock;
let conditions: Map<string, VolumeCondition>;
let pages: number;
let fails: boolean;
let said: string[];
let gauges: number[];
let stop: AbortController;
let loop: ConditionLoop;
let volumeOf: (id: string) => PersistentVolume | undefined;
let tellChange: () => void;

beforeEach(() => {
  clock = new ManualClock();
  conditions = new Map([['v1', healthy]]);
  [pages, fails, said, gauges, stop] = [0, false, [], [], new AbortController()];
  volumeOf = (id) => volume(id);
  tellChange = () => {};
  const source: ConditionSource = {
    listVolumes: async ({ maxEntries, startingToken }) => {
      pages += 1;
      if (fails) throw new Error('the pool is away');
      const ids = [...conditions.keys()].sort().filter((id) => id > startingToken);
      const page = ids.slice(0, maxEntries);
      const entries = page.map((volumeId) => ({
        volume: { volumeId, capacityBytes: 0n, volumeContext: {}, accessibleTopology: [] },
        condition: conditions.get(volumeId) ?? healthy,
      }));
      return { entries, nextToken: ids.length > maxEntries ? (page.at(-1) ?? '') : '' };
    },
    onConditionChanged: (listener) => {
      tellChange = listener;
      return () => {};
    },
  };
  loop = new ConditionLoop({
    source,
    own,
    watches: {
      volumesOfHandle: (id) => [volumeOf(id)].filter((found) => found !== undefined),
      claim: ({ name }) => claim(name),
    },
    recorder: {
      record: ({ object }, type, reason, message) =>
        void said.push(`${object.metadata.name} ${type} ${reason}: ${message}`),
    },
    clock,
    log: silentLog,
    metrics: { count: () => {}, gauge: (_, __, value) => void gauges.push(value), observeSeconds: () => {} },
  });
});
afterEach(async () => {
  stop.abort();
  await loop.idle();
});

function volume(id: string): PersistentVolume {
  return aPersistentVolume({
    metadata: { name: `pv-${id}` },
    spec: {
      csi: { driver: 'loam.dev', volumeHandle: id },
      claimRef: { namespace: 'shop', name: id, uid: `uid-${id}` },
    },
  });
}

function claim(id: string): PersistentVolumeClaim {
  return aClaim({ metadata: { name: id, uid: `uid-${id}` }, spec: { volumeName: `pv-${id}` } });
}

async function become(id: string, condition: VolumeCondition): Promise<void> {
  conditions.set(id, condition);
  await clock.advance(61_000);
}

describe('the condition of a volume', () => {
  it('is told to its claim when it becomes abnormal and when it recovers, and only then', async () => {
    loop.start(stop.signal);
    await clock.advance(10 * 60_000);
    expect(said).toEqual([]);
    await become('v1', abnormal('the image of v1 is missing'));
    await clock.advance(10 * 60_000);
    await become('v1', healthy);
    await clock.advance(10 * 60_000);
    expect(said).toEqual([
      'v1 Warning VolumeConditionAbnormal: the image of v1 is missing',
      'v1 Normal VolumeConditionNormal: The Volume returns to the healthy state',
    ]);
  });

  it('is told at the start where it is abnormal', async () => {
    conditions.set('v1', abnormal('the pool is read-only'));
    loop.start(stop.signal);
    await clock.advance(0);
    expect(said).toEqual(['v1 Warning VolumeConditionAbnormal: the pool is read-only']);
    expect(gauges).toEqual([1]);
  });

  it('is told anew for another reason, and not for another number', async () => {
    loop.start(stop.signal);
    await become('v1', abnormal('the pool has 3.2 GiB left'));
    await become('v1', abnormal('the pool has 1 GiB left'));
    await become('v1', abnormal('the image is missing'));
    expect(said).toEqual([
      'v1 Warning VolumeConditionAbnormal: the pool has 3.2 GiB left',
      'v1 Warning VolumeConditionAbnormal: the image is missing',
    ]);
  });

  it('is looked at soon after somebody tells of a change', async () => {
    loop.start(stop.signal);
    await clock.advance(0);
    conditions.set('v1', abnormal('the file system reports errors'));
    tellChange();
    tellChange();
    await clock.advance(1_000);
    expect(said).toHaveLength(1);
    expect(pages).toBe(2);
  });

  it('is told once though a round breaks off in the middle', async () => {
    conditions = new Map(Array.from({ length: 60 }, (_, i) => [`v${String(i).padStart(3, '0')}`, healthy]));
    conditions.set('v000', abnormal('gone'));
    loop.start(stop.signal);
    await clock.advance(0);
    fails = true;
    await clock.advance(120_000);
    fails = false;
    await clock.advance(120_000);
    expect(said).toEqual(['v000 Warning VolumeConditionAbnormal: gone']);
  });

  it('is told as soon as there is a claim to tell it to', async () => {
    volumeOf = () => undefined;
    conditions.set('v1', abnormal('gone'));
    loop.start(stop.signal);
    await clock.advance(0);
    expect(said).toEqual([]);
    volumeOf = (id) => volume(id);
    await clock.advance(61_000);
    expect(said).toHaveLength(1);
  });

  it('is nobody’s business where the PV is of another driver, node or claim', async () => {
    const strange: readonly PersistentVolume['spec'][] = [
      { ...volume('v1').spec, csi: { driver: 'other', volumeHandle: 'v1' } },
      { ...volume('v1').spec, nodeAffinity: {} },
      { ...volume('v1').spec, claimRef: { namespace: 'shop', name: 'v1', uid: 'before' } },
    ];
    conditions.set('v1', abnormal('gone'));
    loop.start(stop.signal);
    for (const spec of strange) {
      volumeOf = (id) => ({ ...volume(id), spec });
      await clock.advance(61_000);
    }
    expect(said).toEqual([]);
  });

  it('of 10,000 volumes is read a few at a time', async () => {
    conditions = new Map(
      Array.from({ length: 10_000 }, (_, i) => [`v${String(i).padStart(5, '0')}`, healthy]),
    );
    conditions.set('v09999', abnormal('gone'));
    loop.start(stop.signal);
    await clock.advance(1_000);
    expect(pages).toBeLessThan(15);
    await clock.advance(20_000);
    expect(pages).toBe(200);
    expect(said).toEqual(['v09999 Warning VolumeConditionAbnormal: gone']);
    expect(gauges).toEqual([1]);
  });
});
