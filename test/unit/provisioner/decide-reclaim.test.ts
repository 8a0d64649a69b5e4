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
  ['Recycle', released({ spec: { persistentVolumeReclaimPolicy: 'Recycle' } }), 'keep', /Recycle/],
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
