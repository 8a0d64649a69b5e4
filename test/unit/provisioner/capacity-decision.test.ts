import { describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import type { CsiStorageCapacity } from '../../../src/kube/objects.ts';
import {
  buildCapacity,
  capacityNameOf,
  capacitySelector,
  isOwnCapacity,
  type CapacityScope,
  type Room,
} from '../../../src/provisioner/capacity/capacity-object.ts';
import { decideCapacity, type CapacityFacts } from '../../../src/provisioner/capacity/decide-capacity.ts';
import { planRound } from '../../../src/provisioner/capacity/plan-round.ts';
import { readRoom, roomOf } from '../../../src/provisioner/capacity/read-room.ts';
import type { GetCapacityRequest } from '../../../src/model/csi-driver.ts';
import { StorageError } from '../../../src/model/errors.ts';

const GiB = 1n << 30n;
const MiB = 1n << 20n;
const scope: CapacityScope = {
  driverName: 'loam.dev',
  nodeName: 'node-a',
  topologyValue: 'node-a',
  namespace: 'loam-system',
};
const owner = { uid: 'node-uid', segments: { 'topology.loam.dev/node': 'node-a' } };

function object(availableBytes: bigint, parts: Partial<Room> = {}): CsiStorageCapacity {
  return buildCapacity(scope, 'fast', owner, { availableBytes, largestBytes: availableBytes, ...parts });
}

describe('the object of a class', () => {
  it('has the same name at every attempt, and another for another driver, node or class', () => {
    const name = capacityNameOf(scope, 'fast');
    expect(name).toMatch(/^csisc-node-a-[0-9a-f]{32}$/);
    expect(capacityNameOf({ ...scope, namespace: 'elsewhere' }, 'fast')).toBe(name);
    const others = [
      capacityNameOf(scope, 'slow'),
      capacityNameOf({ ...scope, nodeName: 'node-b' }, 'fast'),
      capacityNameOf({ ...scope, driverName: 'other.dev' }, 'fast'),
    ];
    expect(new Set([name, ...others]).size).toBe(4);
  });

  it('goes with the Node, and says what the scheduler compares', () => {
    expect(object(3n * GiB)).toEqual({
      metadata: {
        name: capacityNameOf(scope, 'fast'),
        namespace: 'loam-system',
        labels: {
          'csi.storage.k8s.io/drivername': 'loam.dev',
          'csi.storage.k8s.io/managed-by': 'loam',
          'loam.dev/node': 'node-a',
        },
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'node-uid' }],
      },
      storageClassName: 'fast',
      nodeTopology: { matchLabels: { 'topology.loam.dev/node': 'node-a' } },
      capacity: '3Gi',
      maximumVolumeSize: '3Gi',
    });
    expect(capacitySelector(scope)).toBe(
      'csi.storage.k8s.io/drivername=loam.dev,csi.storage.k8s.io/managed-by=loam,loam.dev/node=node-a',
    );
  });

  it('gives a reason of at most 300 characters', () => {
    const reason = object(0n, { reason: 'x'.repeat(500) }).metadata.annotations?.['loam.dev/reason'];
    expect(reason).toHaveLength(300);
    expect(reason).toMatch(/x…$/);
  });

  it('is ours by all of its labels only', () => {
    const ours = object(1n);
    expect(isOwnCapacity(ours, scope)).toBe(true);
    for (const key of Object.keys(ours.metadata.labels ?? {})) {
      const labels = { ...ours.metadata.labels, [key]: 'somebody' };
      expect(isOwnCapacity({ ...ours, metadata: { ...ours.metadata, labels } }, scope)).toBe(false);
    }
    expect(isOwnCapacity(ours, { ...scope, namespace: 'elsewhere' })).toBe(false);
  });
});

describe('what is written', () => {
  const base = { writtenAtMs: 0, isWritten: true, isNews: false, nowMs: 5_000 };
  const decide = (
    before: CsiStorageCapacity | undefined,
    after: CsiStorageCapacity,
    parts: Partial<CapacityFacts> = {},
  ) => decideCapacity({ ...base, published: before, wanted: after, ...parts });
  const edited = (change: (copy: CsiStorageCapacity) => void): CsiStorageCapacity => {
    const copy = structuredClone(object(10n * GiB));
    change(copy);
    return copy;
  };

  it('is nothing where the object says what is so, however the server spells the sizes', () => {
    const before = { ...object(2000n), capacity: '2k', maximumVolumeSize: '2000' };
    expect(decide(before, object(2000n))).toMatchObject({ kind: 'keep' });
  });

  it('is the object where there is none, but not twice within a second', () => {
    expect(decide(undefined, object(GiB))).toMatchObject({ kind: 'create' });
    expect(decide(undefined, object(GiB), { isWritten: false, nowMs: 0 })).toMatchObject({ kind: 'create' });
    expect(decide(undefined, object(GiB), { writtenAtMs: 4_500 })).toMatchObject({
      kind: 'wait',
      untilMs: 5_400,
    });
  });

  it('waits up to a minute for a little that pods wrote, and not for what we did ourselves', () => {
    const before = object(10n * GiB);
    const after = object(10n * GiB - 63n * MiB);
    expect(decide(before, after)).toMatchObject({ kind: 'wait', untilMs: 60_000 });
    expect(decide(before, after, { nowMs: 60_000 })).toMatchObject({ kind: 'patch' });
    expect(decide(before, after, { isNews: true })).toMatchObject({ kind: 'patch', isUrgent: false });
  });

  it.each([
    ['64 MiB', 10n * GiB, 10n * GiB - 64n * MiB],
    ['one percent', GiB, GiB - 11n * MiB],
    ['a growth of one percent', GiB, GiB + 11n * MiB],
  ])('goes by the next second for %s', (_what, before, after) => {
    expect(decide(object(before), object(after))).toMatchObject({ kind: 'patch', isUrgent: false });
    const soon = { writtenAtMs: 4_500 };
    expect(decide(object(before), object(after), soon)).toMatchObject({ kind: 'wait', untilMs: 5_400 });
  });

  it('goes at once when nothing fits any more, and when something does again', () => {
    const now = { writtenAtMs: 4_999 };
    const full = object(0n, { reason: 'full' });
    expect(decide(object(4096n), full, now)).toMatchObject({
      kind: 'patch',
      isUrgent: true,
      body: { capacity: '0', metadata: { annotations: { 'loam.dev/reason': 'full' } } },
    });
    expect(decide(full, object(4096n), now)).toMatchObject({
      kind: 'patch',
      isUrgent: true,
      body: { maximumVolumeSize: '4Ki', metadata: { annotations: { 'loam.dev/reason': null } } },
    });
  });

  it('is another reason once a minute at most: it tells numbers that pods change', () => {
    const before = object(0n, { reason: 'free: 5' });
    const after = object(0n, { reason: 'free: 6' });
    expect(decide(before, after, { isNews: true })).toMatchObject({ kind: 'wait', untilMs: 60_000 });
    expect(decide(before, after, { nowMs: 60_000 })).toMatchObject({ kind: 'patch' });
  });

  it.each<[string, (copy: CsiStorageCapacity) => void]>([
    [
      'the owner is a Node that was before',
      (copy) =>
        void (copy.metadata.ownerReferences = [
          { apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'old' },
        ]),
    ],
    ['there is no owner', (copy) => void delete copy.metadata.ownerReferences],
    ['a label is missing', (copy) => void delete copy.metadata.labels?.['loam.dev/node']],
    ['the largest size is missing', (copy) => void delete copy.maximumVolumeSize],
  ])('is put right where %s', (_what, change) => {
    const wanted = object(10n * GiB);
    expect(decide(edited(change), wanted)).toMatchObject({
      kind: 'patch',
      body: { metadata: { ownerReferences: [{ uid: 'node-uid' }], labels: wanted.metadata.labels } },
    });
  });

  it.each<[string, (copy: CsiStorageCapacity) => void]>([
    ['another class', (copy) => void (copy.storageClassName = 'slow')],
    [
      'another node',
      (copy) => void (copy.nodeTopology = { matchLabels: { 'topology.loam.dev/node': 'node-b' } }),
    ],
    ['every node', (copy) => void (copy.nodeTopology = { matchLabels: {} })],
  ])('is made anew where it speaks of %s', (_what, change) => {
    expect(decide(edited(change), object(10n * GiB))).toMatchObject({ kind: 'replace' });
  });

  it('never comes twice within a second but at zero, and at the latest after a minute', () => {
    const sizes = fc.bigInt({ min: 0n, max: 20n }).map((units) => units * 40n * MiB);
    fc.assert(
      fc.property(sizes, sizes, fc.boolean(), fc.nat(70_000), (before, after, isNews, nowMs) => {
        const decision = decide(object(before), object(after), { isNews, nowMs });
        const isCrossing = (before === 0n) !== (after === 0n);
        if (before === after) expect(decision.kind).toBe('keep');
        else if (isCrossing || nowMs >= 60_000) expect(decision.kind).toBe('patch');
        else if (nowMs < 900) expect(decision.kind).toBe('wait');
      }),
    );
  });
});

describe('a round', () => {
  const state = (writtenAtMs: number, parts: object = {}) => ({
    writtenAtMs,
    isWritten: true,
    isNews: true,
    failures: 0,
    notBeforeMs: 0,
    ...parts,
  });

  it('writes the urgent first, then what waited longest, and removes what has no class', () => {
    const wish = (className: string, writtenAtMs: number, before: bigint, after: bigint) => ({
      className,
      state: state(writtenAtMs),
      wanted: { ...object(after), storageClassName: className },
      published: {
        ...object(before),
        metadata: { ...object(before).metadata, name: className },
        storageClassName: className,
      },
    });
    const wishes = [
      wish('a', 2_000, GiB, 2n * GiB),
      wish('b', 1_000, GiB, 2n * GiB),
      wish('c', 8_000, GiB, 0n),
    ];
    const gone = { ...object(GiB), metadata: { ...object(GiB).metadata, name: 'gone' } };
    const plan = planRound(wishes, [...wishes.map(({ published }) => published), gone], 9_000);
    expect(plan.writes.map(({ kind, className }) => `${kind} ${className}`)).toEqual([
      'patch c',
      'remove fast',
      'patch b',
      'patch a',
    ]);
    expect(plan).toMatchObject({ current: 0, obsolete: 1 });
  });

  it('leaves alone what the driver cannot say, and what failed a moment ago', () => {
    const published = object(GiB);
    const unknown = { className: 'fast', state: state(0), wanted: undefined, published };
    expect(planRound([unknown], [published], 9_000)).toMatchObject({ writes: [], obsolete: 0 });
    const failed = {
      className: 'fast',
      state: state(0, { notBeforeMs: 9_500 }),
      wanted: object(0n),
      published,
    };
    expect(planRound([failed], [published], 9_000)).toMatchObject({ writes: [], nextMs: 9_500 });
  });

  it('does not wait for an hour to come again after the clock was set back', () => {
    const hourMs = 3_600_000;
    const wish = {
      className: 'fast',
      state: state(hourMs, { notBeforeMs: hourMs }),
      wanted: object(2n * GiB),
      published: object(GiB),
    };
    expect(planRound([wish], [wish.published], 10_000)).toMatchObject({ writes: [], nextMs: 70_000 });
    expect(planRound([wish], [wish.published], 71_000).writes).toHaveLength(1);
  });

  it('forgets the news that changed nothing', () => {
    const published = object(GiB);
    const wish = { className: 'fast', state: state(0), wanted: published, published };
    expect(planRound([wish], [published], 9_000)).toMatchObject({ writes: [], current: 1 });
    expect(wish.state.isNews).toBe(false);
  });
});

describe('the room for a class', () => {
  it('is never more than one volume can have, and nothing where the smallest does not fit', () => {
    expect(roomOf({ availableBytes: 5n })).toEqual({ availableBytes: 5n, largestBytes: 5n });
    expect(roomOf({ availableBytes: 5n, maximumVolumeBytes: 9n })).toEqual({
      availableBytes: 5n,
      largestBytes: 5n,
    });
    expect(roomOf({ availableBytes: 5n, maximumVolumeBytes: 3n })).toEqual({
      availableBytes: 5n,
      largestBytes: 3n,
    });
    expect(roomOf({ availableBytes: 5n * MiB, minimumVolumeBytes: 300n * MiB })).toEqual({
      availableBytes: 5n * MiB,
      largestBytes: 0n,
      reason: '5 MiB are left, and the smallest volume is 300 MiB',
    });
    expect(roomOf({ availableBytes: 0n, reason: 'no pools' })).toMatchObject({
      largestBytes: 0n,
      reason: 'no pools',
    });
  });

  const ask = async (answer: (request: GetCapacityRequest) => bigint, parameters: Record<string, string>) => {
    const calls = {
      getCapacity: async (request: GetCapacityRequest) => ({ availableBytes: answer(request) }),
    };
    return readRoom({ calls }, { parameters }, new AbortController().signal);
  };

  it('is that of a class without parameters where a parameter is wrong, so that a claim comes and is told', async () => {
    const answer = ({ parameters }: GetCapacityRequest): bigint => {
      if ('limits' in parameters) throw new StorageError('invalid-parameter', 'limits is unknown');
      return 7n;
    };
    expect(await ask(answer, { limits: 'x' })).toEqual({ availableBytes: 7n, largestBytes: 7n });
    const away = (): bigint => {
      throw new StorageError('busy', 'later');
    };
    await expect(ask(away, { limits: 'x' })).rejects.toThrow('later');
  });
});
