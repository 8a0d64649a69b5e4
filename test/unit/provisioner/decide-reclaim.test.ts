import { describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { decideClaimFate, decideReclaim, isMarked } from '../../../src/provisioner/reclaim/decide-reclaim.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

type Parts = NonNullable<Parameters<typeof aPersistentVolume>[0]>;
const released = (parts: Parts = {}): PersistentVolume =>
  aPersistentVolume({ status: { phase: 'Released' }, ...parts });
const onNode = (key: string, value: string, operator = 'In') => ({
  required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator, values: [value] }] }] },
});
const without = <T extends object>(object: T, key: keyof T): T => {
  const copy = { ...object };
  delete copy[key];
  return copy;
};
const noAffinity = (volume: PersistentVolume): PersistentVolume => ({
  ...volume,
  spec: without(volume.spec, 'nodeAffinity'),
});
const unsigned = { metadata: { annotations: {} } };

const table: [what: string, volume: PersistentVolume, kind: string, reason: RegExp][] = [
  ['Released with Delete', released(), 'reclaim', /phase Released/],
  ['Failed with Delete', released({ status: { phase: 'Failed' } }), 'reclaim', /phase Failed/],
  ['a static PV of our driver', released(unsigned), 'reclaim', /Released/],
  [
    'one provisioned by another driver',
    released({ metadata: { annotations: { [annotations.provisionedBy]: 'other' } } }),
    'ignore',
    /another driver/,
  ],
  [
    'a static PV of another driver',
    released({ ...unsigned, spec: { csi: { driver: 'other', volumeHandle: 'x' } } }),
    'ignore',
    /another driver/,
  ],
  [
    'ours by annotation, with another CSI source',
    released({ spec: { csi: { driver: 'other', volumeHandle: 'x' } } }),
    'ignore',
    /CSI source/,
  ],
  [
    'on another node',
    released({ spec: { nodeAffinity: onNode('topology.loam.dev/node', 'node-b') } }),
    'ignore',
    /not this node/,
  ],
  [
    'by another key',
    released({ spec: { nodeAffinity: onNode('kubernetes.io/hostname', 'node-a') } }),
    'ignore',
    /not this node/,
  ],
  [
    'anywhere but here',
    released({ spec: { nodeAffinity: onNode('topology.loam.dev/node', 'node-a', 'NotIn') } }),
    'ignore',
    /not this node/,
  ],
  ['without nodeAffinity', noAffinity(released()), 'ignore', /not this node/],
  [
    'without nodeAffinity but labelled as ours',
    noAffinity(released({ metadata: { labels: { [annotations.nodeLabel]: 'node-a' } } })),
    'ignore',
    /not this node/,
  ],
  ['Retain', released({ spec: { persistentVolumeReclaimPolicy: 'Retain' } }), 'keep', /Retain/],
  ['Recycle', released({ spec: { persistentVolumeReclaimPolicy: 'Recycle' } }), 'adopt-recycle', /Recycle/],
  ['Bound', aPersistentVolume(), 'keep', /phase Bound/],
  [
    'Bound and terminating',
    aPersistentVolume({ metadata: { deletionTimestamp: 'x' } }),
    'keep',
    /phase Bound/,
  ],
  ['Available', released({ status: { phase: 'Available' } }), 'keep', /phase Available/],
  ['without a phase', { ...released(), status: {} }, 'keep', /phase Pending/],
  [
    'terminating without our finalizer',
    released({ metadata: { deletionTimestamp: 'x', finalizers: [] } }),
    'keep',
    /taken away/,
  ],
  [
    'terminating with our finalizer',
    released({ metadata: { deletionTimestamp: 'x', finalizers: [annotations.provisionerFinalizer] } }),
    'reclaim',
    /Released/,
  ],
  [
    'without our finalizer and not terminating',
    released({ metadata: { finalizers: [] } }),
    'reclaim',
    /Released/,
  ],
  [
    'without a claimRef',
    { ...released(), spec: without(released().spec, 'claimRef') },
    'keep',
    /names no claim/,
  ],
  ['with claimRef null', released({ spec: { claimRef: null } }), 'keep', /names no claim/],
  [
    'with a claimRef without uid',
    released({ spec: { claimRef: { namespace: 'shop', name: 'data' } } }),
    'keep',
    /names no claim/,
  ],
];

describe('decideReclaim', () => {
  it.each(table)('%s', (_what, volume, kind, reason) => {
    const decision = decideReclaim(volume, own);
    expect(decision.kind).toBe(kind);
    expect(decision.reason).toMatch(reason);
  });

  it('names the claim and the volume that it is about', () => {
    expect(decideReclaim(released(), own)).toMatchObject({
      claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
      volumeId: 'pvc-uid-1',
    });
  });

  it('takes a PV of a strange driver without our topology key by the label that the loop put on it', () => {
    const strange = { ...own, ownDriver: false };
    const labels = { [annotations.nodeLabel]: 'node-a' };
    const volume = released({
      metadata: { labels },
      spec: { nodeAffinity: onNode('topology.other/node', 'n1') },
    });
    expect(decideReclaim(volume, strange).kind).toBe('reclaim');
    expect(decideReclaim({ ...volume, metadata: { ...volume.metadata, labels: {} } }, strange).kind).toBe(
      'ignore',
    );
    const elsewhere = {
      ...volume,
      spec: { ...volume.spec, nodeAffinity: onNode('topology.loam.dev/node', 'node-b') },
    };
    expect(decideReclaim(elsewhere, strange).kind).toBe('ignore');
  });

  describe('of data that another PV has too', () => {
    const other = aPersistentVolume({ metadata: { name: 'restored', uid: 'pv-uid-2' } });

    it('leaves it while the other is in use', () => {
      const decision = decideReclaim(released(), own, [released(), other]);
      expect(decision).toMatchObject({
        kind: 'shared',
        reason: expect.stringContaining('restored') as string,
      });
    });

    it('leaves it while the other is kept by Retain', () => {
      const kept = {
        ...other,
        status: { phase: 'Released' as const },
        spec: { ...other.spec, persistentVolumeReclaimPolicy: 'Retain' as const },
      };
      expect(decideReclaim(released(), own, [kept]).kind).toBe('shared');
    });

    it('reclaims both when both are to be reclaimed', () => {
      expect(decideReclaim(released(), own, [{ ...other, status: { phase: 'Released' } }]).kind).toBe(
        'reclaim',
      );
    });

    it('is not held up by the same handle in another pool', () => {
      const csi = {
        driver: 'loam.dev',
        volumeHandle: 'pvc-uid-1',
        volumeAttributes: { 'loam.dev/pool-uuid': 'pool-9' },
      };
      expect(decideReclaim(released(), own, [{ ...other, spec: { ...other.spec, csi } }]).kind).toBe(
        'reclaim',
      );
    });
  });
});

describe('decideClaimFate', () => {
  const claim = { namespace: 'shop', name: 'data', uid: 'uid-1' };
  const fates: [what: string, live: Parameters<typeof decideClaimFate>[0], kind: string][] = [
    ['there is none', undefined, 'gone'],
    ['a newer one has its name', aClaim({ metadata: { uid: 'uid-2' } }), 'gone'],
    ['it is not bound', aClaim(), 'alive'],
    ['it is bound to this volume', aClaim({ spec: { volumeName: 'pvc-uid-1' } }), 'alive'],
    ['it is bound to another volume', aClaim({ spec: { volumeName: 'static-1' } }), 'bound-elsewhere'],
  ];
  it.each(fates)('%s', (_what, live, kind) => {
    expect(decideClaimFate(live, claim, 'pvc-uid-1', true).kind).toBe(kind);
  });

  it('counts as gone when the claim is bound to another volume for good and this one was never used', () => {
    const elsewhere = aClaim({ spec: { volumeName: 'static-1' } });
    expect(decideClaimFate(elsewhere, claim, 'pvc-uid-1', false).kind).toBe('gone');
    expect(decideClaimFate(aClaim(), claim, 'pvc-uid-1', false).kind).toBe('alive');
  });
});

describe('isMarked', () => {
  it('tells a mark for this claim from one for another', () => {
    const marked = aPersistentVolume({ metadata: { annotations: { [annotations.reclaiming]: 'uid-1' } } });
    expect([
      isMarked(marked),
      isMarked(marked, 'uid-1'),
      isMarked(marked, 'uid-2'),
      isMarked(aPersistentVolume()),
    ]).toEqual([true, true, false, false]);
  });
});

const noted = (notes: Record<string, string>, parts: Parts = {}): PersistentVolume =>
  released({ ...parts, metadata: { ...parts.metadata, annotations: notes } });
const nowMs = Date.UTC(2026, 0, 31, 12);
const hourMs = 3_600_000;
const retain = { persistentVolumeReclaimPolicy: 'Retain' } as const;
const recycle = { [annotations.onRelease]: 'recycle' };
const going = { deletionTimestamp: 'x', finalizers: [annotations.provisionerFinalizer] };

const ends: [what: string, volume: PersistentVolume, kind: string, reason: RegExp][] = [
  ['Delete with retain-for', noted({ [annotations.retainFor]: '24h' }), 'retain', /Delete/],
  ['Delete with retain-for 0s', noted({ [annotations.retainFor]: '0s' }), 'reclaim', /Delete/],
  ['a retention that lasts', noted({ [annotations.retainedUntil]: '2026-01-31T12:00:01Z' }), 'retain', /./],
  [
    'a retention that is over',
    noted({ [annotations.retainFor]: '24h', [annotations.retainedUntil]: '2026-01-31T12:00:00Z' }),
    'reclaim',
    /./,
  ],
  [
    'a retention in another time zone',
    noted({ [annotations.retainedUntil]: '2026-01-31T12:30:00+01:00' }),
    'reclaim',
    /./,
  ],
  [
    'a retained PV that is being deleted',
    released({ metadata: { annotations: { [annotations.retainFor]: '24h' }, ...going } }),
    'retain',
    /./,
  ],
  ['Retain with on-release: recycle', noted(recycle, { spec: retain }), 'recycle', /recycle/],
  [
    'Retain with on-release: keep',
    noted({ [annotations.onRelease]: 'keep' }, { spec: retain }),
    'keep',
    /Retain/,
  ],
  ['Delete with on-release: recycle', noted(recycle), 'reclaim', /Delete/],
  [
    'a recycled one that is retained first',
    noted({ ...recycle, [annotations.retainFor]: '1h' }, { spec: retain }),
    'retain',
    /recycle/,
  ],
  [
    'one to be recycled that is being deleted',
    released({ metadata: { annotations: recycle, ...going }, spec: retain }),
    'keep',
    /never be offered/,
  ],
  [
    'Recycle, Failed',
    released({ spec: { persistentVolumeReclaimPolicy: 'Recycle' }, status: { phase: 'Failed' } }),
    'adopt-recycle',
    /Failed/,
  ],
  [
    'Recycle, Bound',
    aPersistentVolume({ spec: { persistentVolumeReclaimPolicy: 'Recycle' } }),
    'keep',
    /phase Bound/,
  ],
  ['a duration without a unit', noted({ [annotations.retainFor]: '24' }), 'unclear', /retain-for is "24"/],
  ['an empty duration', noted({ [annotations.retainFor]: '' }), 'unclear', /retain-for is ""/],
  [
    'nonsense in retain-for, though the retention is over',
    noted({ [annotations.retainFor]: 'long', [annotations.retainedUntil]: '2026-01-01T00:00:00Z' }),
    'unclear',
    /nothing is destroyed/,
  ],
  [
    'a time without a zone',
    noted({ [annotations.retainedUntil]: '2026-01-01T00:00:00' }),
    'unclear',
    /takes a time/,
  ],
  ['a number for a time', noted({ [annotations.retainedUntil]: '1' }), 'unclear', /retained-until is "1"/],
  [
    'no time at all',
    noted({ [annotations.retainedUntil]: '2026-13-01T00:00:00Z' }),
    'unclear',
    /takes a time/,
  ],
  [
    'nonsense in on-release, Delete',
    noted({ [annotations.onRelease]: 'Recycle' }),
    'unclear',
    /keep or recycle/,
  ],
  [
    'nonsense in on-release, Retain',
    noted({ [annotations.onRelease]: 'wipe' }, { spec: retain }),
    'unclear',
    /"wipe"/,
  ],
  [
    'nonsense in retain-for with Retain',
    noted({ [annotations.retainFor]: 'x' }, { spec: retain }),
    'keep',
    /Retain/,
  ],
];

describe("a volume's end, as its PV says it", () => {
  it.each(ends)('%s', (_what, volume, kind, reason) => {
    const decision = decideReclaim(volume, own, [], nowMs);
    expect(decision.kind).toBe(kind);
    expect(decision.reason).toMatch(reason);
  });

  it('is retained from now where no end is noted yet, and until year 9999 at most', () => {
    expect(decideReclaim(noted({ [annotations.retainFor]: '1h' }), own, [], nowMs)).toMatchObject({
      untilMs: nowMs + hourMs,
      isNoted: false,
      next: 'reclaim',
    });
    expect(decideReclaim(noted({ [annotations.retainFor]: '99999999d' }), own, [], nowMs)).toMatchObject({
      untilMs: Date.UTC(9999, 11, 31),
    });
  });

  it.each(['recycle', 'Recycle'])('cannot be to be emptied by a driver of other people (%s)', (word) => {
    const strange = { ...own, ownDriver: false, segments: { 'topology.loam.dev/node': 'node-a' } };
    const volume =
      word === 'Recycle'
        ? released({
            spec: { persistentVolumeReclaimPolicy: word },
            metadata: { labels: { [annotations.nodeLabel]: 'node-a' } },
          })
        : noted(recycle, { spec: retain, metadata: { labels: { [annotations.nodeLabel]: 'node-a' } } });
    expect(['keep', 'ignore']).toContain(decideReclaim(volume, strange, [], nowMs).kind);
  });

  it('waits for another PV over the same data whose retention lasts, or which is to be recycled', () => {
    const other = (notes: Record<string, string>, spec: Parts['spec'] = {}): PersistentVolume =>
      released({ metadata: { name: 'other', annotations: notes }, spec });
    const kindBeside = (sharer: PersistentVolume): string =>
      decideReclaim(released(), own, [sharer], nowMs).kind;
    expect(kindBeside(other({ [annotations.retainFor]: '1h' }))).toBe('shared');
    expect(kindBeside(other({ [annotations.retainedUntil]: '2027-01-01T00:00:00Z' }))).toBe('shared');
    expect(kindBeside(other({ [annotations.retainFor]: 'nonsense' }))).toBe('shared');
    expect(kindBeside(other(recycle, retain))).toBe('shared');
    expect(kindBeside(other({ [annotations.retainedUntil]: '2020-01-01T00:00:00Z' }))).toBe('reclaim');
  });
});
