import { array, assert, boolean, constantFrom, property, record } from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as annotations from '../../../src/claims/annotations.ts';
import { decideEarly, type EarlyFacts, type EarlyObstacle } from '../../../src/provisioner/decide-early.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

const node = { [annotations.selectedNode]: 'node-a' };
const free = aPersistentVolume({ status: { phase: 'Available' } });
delete free.spec.claimRef;

function facts(changes: Partial<EarlyFacts> = {}): EarlyFacts {
  return {
    claim: aClaim(),
    storageClass: aStorageClass(),
    own,
    early: true,
    immediateOnThisNode: false,
    hasIntent: false,
    claimVolumes: [],
    freeVolumes: [],
    watchesAreLive: true,
    ...changes,
  };
}

/** For each obstacle, ways to be in the way; each breaks nothing else. */
const breaks: Record<EarlyObstacle, ((good: EarlyFacts) => EarlyFacts)[]> = {
  'switched-off': [(good) => ({ ...good, early: false })],
  terminating: [(good) => withMeta(good, { deletionTimestamp: '2026-01-01T00:00:00Z' })],
  'not-pending': [
    (good) => ({ ...good, claim: { ...good.claim, status: { phase: 'Bound' } } }),
    (good) => ({ ...good, claim: { ...good.claim, status: { phase: 'Lost' } } }),
    (good) => ({ ...good, claim: { ...good.claim, status: {} } }),
  ],
  'has-volume': [(good) => withSpec(good, { volumeName: 'static-1' })],
  'bind-completed': [(good) => withNote(good, { [annotations.bindCompleted]: 'yes' })],
  selector: [
    (good) => withSpec(good, { selector: {} }),
    (good) => withSpec(good, { selector: { matchLabels: { a: 'b' } } }),
  ],
  'other-provisioner': [
    (good) => withNote(good, { [annotations.storageProvisioner]: 'other.example' }),
    (good) => withNote(good, { [annotations.betaStorageProvisioner]: 'other.example' }),
    (good) =>
      withNote(good, {
        [annotations.storageProvisioner]: 'loam.dev',
        [annotations.betaStorageProvisioner]: 'other.example',
      }),
  ],
  migrated: [(good) => withNote(good, { [annotations.migratedTo]: 'loam.dev' })],
  'data-source': [
    (good) => withSpec(good, { dataSource: { kind: 'PersistentVolumeClaim', name: '' } }),
    (good) => withSpec(good, { dataSourceRef: { apiGroup: 'pop.example', kind: 'Image', name: 'seed' } }),
    (good) =>
      withSpec(good, {
        dataSourceRef: { kind: 'PersistentVolumeClaim', name: 'old', namespace: 'elsewhere' },
      }),
  ],
  'no-class': [
    (good) => ({ ...good, storageClass: undefined }),
    (good) => withNote(good, { [annotations.betaStorageClass]: 'slow' }),
  ],
  'class-terminating': [
    (good) => withClass(good, { metadata: { name: 'fast', deletionTimestamp: '2026-01-01T00:00:00Z' } }),
  ],
  'class-of-other': [(good) => withClass(good, { provisioner: 'other.example' })],
  policy: [(good) => withClass(good, { reclaimPolicy: 'Retain' })],
  topology: [
    (good) =>
      withClass(good, {
        allowedTopologies: [
          { matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['node-b'] }] },
        ],
      }),
    (good) => withClass(good, { allowedTopologies: [{}] }),
  ],
  node: [
    (good) => withNote(good, { [annotations.selectedNode]: 'node-b' }),
    (good) => {
      const claim = structuredClone(good.claim);
      delete claim.metadata.annotations?.[annotations.selectedNode];
      // an Immediate claim is this node's where the switch says so
      return { ...good, claim, immediateOnThisNode: false };
    },
  ],
  'reserved-volume': [
    (good) => ({ ...good, claimVolumes: [aPersistentVolume()] }),
    (good) => ({
      ...good,
      claimVolumes: [
        aPersistentVolume({ spec: { claimRef: { namespace: 'shop', name: 'data' }, storageClassName: 'x' } }),
      ],
    }),
    (good) => ({
      ...good,
      claimVolumes: [aPersistentVolume({ spec: { claimRef: { namespace: 'shop', name: 'data', uid: '' } } })],
    }),
  ],
  'fitting-volume': [
    (good) => ({
      ...good,
      storageClass: { ...(good.storageClass ?? aStorageClass()), volumeBindingMode: 'Immediate' },
      freeVolumes: [free],
    }),
    (good) => ({
      ...good,
      storageClass: { ...(good.storageClass ?? aStorageClass()), volumeBindingMode: 'Immediate' },
      freeVolumes: [{ ...free, status: {} }],
    }),
  ],
  'scoped-watches': [(good) => ({ ...good, watchesAreScoped: true })],
  'stale-watches': [(good) => ({ ...good, watchesAreLive: false })],
};

function withMeta(good: EarlyFacts, metadata: Partial<EarlyFacts['claim']['metadata']>): EarlyFacts {
  return { ...good, claim: { ...good.claim, metadata: { ...good.claim.metadata, ...metadata } } };
}

function withNote(good: EarlyFacts, notes: Record<string, string>): EarlyFacts {
  return withMeta(good, { annotations: { ...good.claim.metadata.annotations, ...notes } });
}

function withSpec(good: EarlyFacts, spec: Partial<EarlyFacts['claim']['spec']>): EarlyFacts {
  return { ...good, claim: { ...good.claim, spec: { ...good.claim.spec, ...spec } } };
}

function withClass(good: EarlyFacts, changes: Partial<NonNullable<EarlyFacts['storageClass']>>): EarlyFacts {
  return { ...good, storageClass: { ...(good.storageClass ?? aStorageClass()), ...changes } };
}

/** Facts under which a claim may be taken ahead. */
const goodFacts = record({
  unassigned: boolean(),
  annotated: boolean(),
  intent: boolean(),
  topologies: boolean(),
  stranger: boolean(),
  source: constantFrom(
    {},
    { dataSource: { kind: 'PersistentVolumeClaim', name: 'old' } },
    { dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'monday' } },
  ),
}).map(({ unassigned, annotated, intent, topologies, stranger, source }) => {
  const notes = {
    ...(unassigned ? {} : node),
    ...(annotated ? { [annotations.storageProvisioner]: 'loam.dev' } : {}),
  };
  return facts({
    claim: aClaim({ metadata: { annotations: notes }, spec: source }),
    storageClass: aStorageClass({
      volumeBindingMode: unassigned ? 'Immediate' : 'WaitForFirstConsumer',
      ...(topologies
        ? {
            allowedTopologies: [
              { matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['node-b', 'node-a'] }] },
            ],
          }
        : {}),
    }),
    immediateOnThisNode: unassigned,
    hasIntent: intent,
    claimVolumes: stranger
      ? [
          aPersistentVolume({
            spec: { claimRef: { namespace: 'shop', name: 'data', uid: 'an-older-claim' } },
          }),
        ]
      : [],
  });
});

describe('decideEarly', () => {
  it('goes ahead where every condition holds', () => {
    assert(
      property(goodFacts, (good) => {
        expect(decideEarly(good)).toEqual({ kind: 'early' });
      }),
    );
  });

  for (const [obstacle, ways] of Object.entries(breaks)) {
    ways.forEach((breakIt, index) => {
      it(`waits: ${obstacle} (${index + 1})`, () => {
        const decision = decideEarly(breakIt(facts()));
        expect(decision).toMatchObject({ kind: 'not-early', because: obstacle });
        expect(decision).toHaveProperty('reason', expect.stringMatching(/\w{3}/));
      });
    });
  }

  it('never goes ahead when any condition is broken, whatever else holds', () => {
    const anyBreak = constantFrom(
      ...Object.entries(breaks).flatMap(([obstacle, ways]) => ways.map((way) => ({ obstacle, way }))),
    );
    assert(
      property(goodFacts, array(anyBreak, { minLength: 1, maxLength: 4 }), (good, broken) => {
        // an intent lets a terminating claim be carried through: not an obstacle then
        const start = broken.some(({ obstacle }) => obstacle === 'terminating')
          ? { ...good, hasIntent: false }
          : good;
        const decision = decideEarly(broken.reduce((facts, { way }) => way(facts), start));
        expect(decision.kind).toBe('not-early');
      }),
    );
  });

  it('carries a terminating claim through when a volume was begun for it', () => {
    const terminating = withMeta(facts({ hasIntent: true }), { deletionTimestamp: '2026-01-01T00:00:00Z' });
    expect(decideEarly(terminating).kind).toBe('early');
  });

  it('is not held up by a free volume that the claim could not have', () => {
    const immediate = facts({ storageClass: aStorageClass({ volumeBindingMode: 'Immediate' }) });
    const others = [
      { ...free, spec: { ...free.spec, capacity: { storage: '512Mi' } } },
      { ...free, spec: { ...free.spec, volumeMode: 'Block' as const } },
      { ...free, spec: { ...free.spec, accessModes: ['ReadOnlyMany'] } },
      { ...free, spec: { ...free.spec, storageClassName: 'slow' } },
      { ...free, spec: { ...free.spec, volumeAttributesClassName: 'gold' } },
      { ...free, metadata: { ...free.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
      { ...free, status: { phase: 'Released' as const } },
    ];
    expect(decideEarly({ ...immediate, freeVolumes: others }).kind).toBe('early');
    expect(decideEarly({ ...immediate, freeVolumes: [...others, free] }).kind).toBe('not-early');
  });

  it('leaves free volumes to the scheduler for WaitForFirstConsumer', () => {
    expect(decideEarly(facts({ freeVolumes: [free] })).kind).toBe('early');
  });

  it('is not held up by a volume of an older claim with the same name', () => {
    const older = aPersistentVolume({
      spec: { claimRef: { namespace: 'shop', name: 'data', uid: 'older' } },
    });
    expect(decideEarly(facts({ claimVolumes: [older] })).kind).toBe('early');
  });
});
