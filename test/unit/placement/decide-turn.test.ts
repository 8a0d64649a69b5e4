import { describe, expect, it } from 'vitest';
import { decideTurn, type TurnFacts } from '../../../src/placement/decide-turn.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';

const immediate = aStorageClass({ volumeBindingMode: 'Immediate' });
const unassigned = aClaim({ metadata: { annotations: {} } });
const decide = (changes: Partial<TurnFacts>) =>
  decideTurn({
    claim: unassigned,
    storageClass: immediate,
    driverName: 'loam.dev',
    existing: undefined,
    claimVolumes: [],
    freeVolumes: [],
    ...changes,
  });
const provisioner = 'volume.kubernetes.io/storage-provisioner';
const noted = (annotations: Record<string, string>) => aClaim({ metadata: { annotations } });
const free = aPersistentVolume({
  spec: { claimRef: null, capacity: { storage: '2Gi' } },
  status: { phase: 'Available' },
});

describe("placement's part in a claim", () => {
  it('is to find a node where it binds at once and has none', () => {
    expect(decide({})).toEqual({ kind: 'place', storageClass: immediate });
    expect(decide({ claim: noted({ [provisioner]: 'loam.dev' }) }).kind).toBe('place');
    expect(decide({ claim: noted({ 'volume.kubernetes.io/selected-node': '' }) }).kind).toBe('place');
  });

  it('is to say whether it could be had where its first pod chooses', () => {
    const storageClass = aStorageClass();
    expect(decide({ storageClass })).toEqual({ kind: 'advise', storageClass });
  });

  it('is to watch its node where one is selected, whatever its class says', () => {
    const guard = { kind: 'guard', nodeName: 'node-a' };
    expect(decide({ claim: aClaim() })).toEqual(guard);
    expect(decide({ claim: aClaim(), storageClass: aStorageClass() })).toEqual(guard);
    const called = noted({ 'volume.kubernetes.io/selected-node': 'node-a', [provisioner]: 'loam.dev' });
    expect(decide({ claim: called, storageClass: undefined })).toEqual(guard);
  });

  it.each([
    ['it has a volume', { claim: aClaim({ metadata: { annotations: {} }, spec: { volumeName: 'pv' } }) }],
    ['it is Lost', { claim: aClaim({ metadata: { annotations: {} }, status: { phase: 'Lost' } }) }],
    ['it is being deleted', { claim: aClaim({ metadata: { annotations: {}, deletionTimestamp: 'now' } }) }],
    ['it was bound before', { claim: noted({ 'pv.kubernetes.io/bind-completed': 'yes' }) }],
    ['another provisioner was asked', { claim: noted({ [provisioner]: 'other.dev' }) }],
    [
      'another provisioner was asked in the older spelling',
      { claim: noted({ 'volume.beta.kubernetes.io/storage-provisioner': 'other.dev' }) },
    ],
    ['its class is not there', { storageClass: undefined }],
    [
      'its class is not there, though we were asked',
      { storageClass: undefined, claim: noted({ [provisioner]: 'loam.dev' }) },
    ],
    ["its class is another driver's", { storageClass: aStorageClass({ provisioner: 'other.dev' }) }],
    ['its PV exists', { existing: aPersistentVolume() }],
    ['its PV exists and a node is selected', { existing: aPersistentVolume(), claim: aClaim() }],
    ['a PV is reserved for it', { claimVolumes: [aPersistentVolume({ metadata: { name: 'static' } })] }],
    ['a free PV fits it', { freeVolumes: [free] }],
    [
      'it selects its volume',
      { claim: aClaim({ metadata: { annotations: {} }, spec: { selector: { matchLabels: { a: 'b' } } } }) },
    ],
    [
      'a populator fills it',
      {
        claim: aClaim({ metadata: { annotations: {} }, spec: { dataSource: { kind: 'Recipe', name: 'r' } } }),
      },
    ],
  ] satisfies [string, Partial<TurnFacts>][])('is nothing where %s', (_, changes) => {
    expect(decide(changes).kind).toBe('ignore');
  });

  it('is to find a node once kube-controller-manager has found no volume for it', () => {
    expect(decide({ freeVolumes: [free], claim: noted({ [provisioner]: 'loam.dev' }) }).kind).toBe('place');
    const reserved = aPersistentVolume({
      spec: { claimRef: { namespace: 'shop', name: 'data', uid: 'older' } },
    });
    expect(decide({ claimVolumes: [reserved] }).kind).toBe('place');
  });

  it.each([
    [
      { kind: 'VolumeSnapshot', name: 's', apiGroup: 'snapshot.storage.k8s.io' },
      { kind: 'snapshot', namespace: 'shop', name: 's' },
    ],
    [
      { kind: 'PersistentVolumeClaim', name: 'c' },
      { kind: 'claim', namespace: 'shop', name: 'c' },
    ],
  ])('is to bring it to the node of its source, whoever would choose otherwise: %o', (dataSource, source) => {
    const claim = aClaim({ metadata: { annotations: {} }, spec: { dataSource } });
    expect(decide({ claim })).toEqual({ kind: 'join', storageClass: immediate, source });
    const waits = aStorageClass();
    expect(decide({ claim, storageClass: waits })).toEqual({ kind: 'join', storageClass: waits, source });
    // kube-controller-manager calls nobody for a claim that waits for its first pod and has no node
    expect(decide({ claim, storageClass: waits, afterCallOnly: true }).kind).toBe('join');
    expect(decide({ claim, afterCallOnly: true }).kind).toBe('ignore');
    expect(decide({ claim, freeVolumes: [free] }).kind).toBe('ignore');
    const chosen = aClaim({ spec: { dataSource } });
    expect(decide({ claim: chosen }).kind).toBe('guard');
  });

  it('is to say so where its source is in another namespace', () => {
    const dataSourceRef = { kind: 'PersistentVolumeClaim', name: 'c', namespace: 'elsewhere' };
    const claim = aClaim({ metadata: { annotations: {} }, spec: { dataSourceRef } });
    expect(decide({ claim })).toMatchObject({ kind: 'refuse' });
  });
});
