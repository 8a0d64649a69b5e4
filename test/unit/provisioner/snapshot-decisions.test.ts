import { describe, expect, it } from 'vitest';
import type { OwnSide } from '../../../src/claims/volume-facts.ts';
import { CsiError, type StatusCode } from '../../../src/model/status-code.ts';
import { nodeSegments } from '../../../src/model/topology.ts';
import { decideContent } from '../../../src/provisioner/snapshots/decide-content.ts';
import { isFinal } from '../../../src/provisioner/snapshots/decide-final.ts';
import { decideOwner, type OwnerFacts } from '../../../src/provisioner/snapshots/decide-owner.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { aContent, creating, deleting, finalizer } from './snapshot-world.ts';

const own: OwnSide = {
  driverName: 'loam.dev',
  nodeName: 'node-a',
  topologyValue: 'node-a',
  segments: nodeSegments('node-a'),
  ownDriver: true,
};
const affinity = (...nodes: string[]) => ({
  required: {
    nodeSelectorTerms: [
      { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: nodes }] },
    ],
  },
});
const volumeOn = (node: string) => aPersistentVolume({ spec: { nodeAffinity: affinity(node) } });
const nothingHere: OwnerFacts = {
  content: aContent(),
  snapshotClass: undefined,
  own,
  sourceVolumes: [],
  holdsSource: false,
  holdsSnapshot: false,
};
const labelled = { metadata: { labels: { 'loam.dev/node': 'node-a' } } };
const made = { source: { snapshotHandle: 'snap_old' } };

describe('whose a content is', () => {
  const cases: readonly (readonly [string, boolean, Partial<OwnerFacts>])[] = [
    ['nobody has its source or its snapshot', false, {}],
    ['its snapshot is here', true, { holdsSnapshot: true }],
    [
      'its snapshot is here, though its PV is elsewhere',
      true,
      { holdsSnapshot: true, sourceVolumes: [volumeOn('node-b')] },
    ],
    ['its source is here and it has no PV', true, { holdsSource: true }],
    ['the PV of its source is here', true, { sourceVolumes: [volumeOn('node-a')] }],
    ['the PV of its source is elsewhere', false, { sourceVolumes: [volumeOn('node-b')], holdsSource: true }],
    [
      'two PVs have its source, one of them here',
      true,
      { sourceVolumes: [volumeOn('node-b'), volumeOn('node-a')] },
    ],
    [
      "another driver's PV has a handle of the same name",
      true,
      {
        sourceVolumes: [
          aPersistentVolume({
            spec: {
              nodeAffinity: affinity('node-b'),
              csi: { driver: 'other.dev', volumeHandle: 'pvc-uid-1' },
            },
          }),
        ],
        holdsSource: true,
      },
    ],
    ['only its label says so', true, { content: aContent(labelled) }],
    [
      'its label says so, but the PV of its source is elsewhere',
      false,
      { content: aContent(labelled), sourceVolumes: [volumeOn('node-b')] },
    ],
    [
      'its label names another node',
      false,
      { content: aContent({ metadata: { labels: { 'loam.dev/node': 'node-b' } } }) },
    ],
    ['it was made beforehand and is here', true, { content: aContent({ spec: made }), holdsSnapshot: true }],
    ['it was made beforehand, elsewhere', false, { content: aContent({ spec: made }) }],
    ['it names no source', false, { content: aContent({ spec: { source: {} } }), holdsSource: true }],
    [
      'it is of another driver',
      false,
      { content: aContent({ spec: { driver: 'other.dev' } }), holdsSource: true, holdsSnapshot: true },
    ],
    [
      'it is one of a group by its status',
      false,
      { content: aContent({ status: { volumeGroupSnapshotHandle: 'g' } }), holdsSnapshot: true },
    ],
  ];
  it.each(cases)('where %s: ours is %s', (_case, isOurs, facts) => {
    expect(decideOwner({ ...nothingHere, ...facts })).toMatchObject({ isOurs });
  });

  it("is told by the PV's label where the driver is another's", () => {
    const { nodeAffinity: _, ...spec } = aPersistentVolume().spec;
    const volume = { ...aPersistentVolume({ metadata: labelled.metadata }), spec };
    const facts = { ...nothingHere, sourceVolumes: [volume] };
    expect(decideOwner({ ...facts, own: { ...own, ownDriver: false } }).isOurs).toBe(true);
    expect(decideOwner({ ...facts, own: { ...own, ownDriver: false, topologyValue: 'node-b' } }).isOurs).toBe(
      false,
    );
  });
});

describe('what is to be done about a content', () => {
  const going = { deletionTimestamp: '2026-01-01T00:00:00Z' };
  const over = { ...going, annotations: { [deleting]: 'yes' } };
  const ready = { snapshotHandle: 'snap_1', readyToUse: true };
  const cases: readonly (readonly [string, string, Parameters<typeof aContent>[0]])[] = [
    ['is new', 'create', {}],
    ['is not ready yet', 'create', { status: { snapshotHandle: 'snap_1', readyToUse: false } }],
    ['failed', 'create', { status: { readyToUse: false, error: { message: 'x' } } }],
    ['is ready', 'keep', { status: ready }],
    [
      'is ready and marked yet',
      'unmark',
      { metadata: { annotations: { [creating]: 'yes' } }, status: ready },
    ],
    [
      'has a handle and is marked yet',
      'unmark',
      { metadata: { annotations: { [creating]: 'yes' } }, status: { ...ready, readyToUse: false } },
    ],
    ['was made beforehand', 'check', { spec: made }],
    ['was made beforehand and is ready', 'keep', { spec: made, status: ready }],
    ['is going, but its VolumeSnapshot is not', 'keep', { metadata: going, status: ready }],
    ['is going before it was begun', 'keep', { metadata: going }],
    ['is to go, and was never begun', 'let-go', { metadata: over }],
    ['is to go', 'delete', { metadata: over, status: ready }],
    ['is to go half made', 'delete', { metadata: over, status: { ...ready, readyToUse: false } }],
    [
      'was made beforehand, could not be looked at, and is to go',
      'delete',
      { metadata: over, spec: made, status: { readyToUse: false, error: { message: 'x' } } },
    ],
    [
      'was made beforehand, is to go, and its snapshot is gone',
      'let-go',
      { metadata: over, spec: made, status: { readyToUse: false } },
    ],
    ['is to go, and its snapshot is gone', 'let-go', { metadata: over, status: { readyToUse: false } }],
    [
      'is to go while it is being made',
      'create',
      { metadata: { ...going, annotations: { [deleting]: 'yes', [creating]: 'yes' } } },
    ],
    [
      'is to go, and has the mark of one that is made',
      'unmark',
      { metadata: { ...going, annotations: { [deleting]: 'yes', [creating]: 'yes' } }, status: ready },
    ],
    [
      'is to go and to be retained',
      'let-go',
      { metadata: over, spec: { deletionPolicy: 'Retain' }, status: ready },
    ],
    ['is to go without our finalizer', 'keep', { metadata: { ...over, finalizers: ['x'] }, status: ready }],
    ['was made beforehand and is to go unseen', 'delete', { metadata: over, spec: made }],
    [
      'was made beforehand, bound to nothing, and is going',
      'delete',
      { metadata: going, spec: { ...made, volumeSnapshotRef: { namespace: 'a', name: 'b' } }, status: ready },
    ],
    ['was made beforehand, is bound and going', 'keep', { metadata: going, spec: made, status: ready }],
  ];
  it.each(cases)('one that %s: %s', (_case, kind, parts) => {
    const metadata = { finalizers: [finalizer], ...parts?.metadata };
    expect(decideContent(aContent({ ...parts, metadata })).kind).toBe(kind);
  });
});

describe('whether it is certain that no snapshot is being made', () => {
  const uncertain: readonly StatusCode[] = ['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE', 'ABORTED'];
  it.each(uncertain)('not after %s', (code) => {
    expect(isFinal(new CsiError(code, ''), true)).toBe(false);
  });
  it('not after an error that is no answer', () => {
    expect(isFinal(new Error('reset'), true)).toBe(false);
  });
  it("not after RESOURCE_EXHAUSTED of another's driver, which may go on", () => {
    expect(isFinal(new CsiError('RESOURCE_EXHAUSTED', ''), false)).toBe(false);
    expect(isFinal(new CsiError('RESOURCE_EXHAUSTED', ''), true)).toBe(true);
  });
  it.each(['INVALID_ARGUMENT', 'NOT_FOUND', 'INTERNAL', 'UNIMPLEMENTED'] as const)('after %s', (code) => {
    expect(isFinal(new CsiError(code, ''), false)).toBe(true);
  });
});
