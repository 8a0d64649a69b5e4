import { describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { decideProvision, type ProvisionFacts } from '../../../src/provisioner/decide-provision.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { own } from './own-side.ts';

const called = { [annotations.storageProvisioner]: 'loam.dev', [annotations.selectedNode]: 'node-a' };
const going = { deletionTimestamp: '2026-01-01T00:00:00Z' };

function claimWith(
  notes: Record<string, string>,
  spec: Partial<PersistentVolumeClaim['spec']> = {},
  metadata: Partial<PersistentVolumeClaim['metadata']> = {},
): PersistentVolumeClaim {
  return aClaim({ metadata: { annotations: notes, ...metadata }, spec });
}

function facts(changes: Partial<ProvisionFacts> = {}): ProvisionFacts {
  return {
    claim: claimWith(called),
    storageClass: aStorageClass(),
    own,
    early: false,
    immediateOnThisNode: false,
    hasIntent: false,
    claimVolumes: [],
    freeVolumes: [],
    watchesAreLive: true,
    capabilities: new Set(['CREATE_DELETE_VOLUME']),
    existing: undefined,
    ...changes,
  };
}

const immediate = aStorageClass({ volumeBindingMode: 'Immediate' });
const elsewhere = [{ matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['node-b'] }] }];

const recycling = aStorageClass({ parameters: { onRelease: 'recycle' }, reclaimPolicy: 'Retain' });
const ofSnapshot = {
  dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'before' },
};

const table: [what: string, changes: Partial<ProvisionFacts>, kind: string, reason: RegExp][] = [
  ['a class that recycles', { storageClass: recycling }, 'provision', /./],
  [
    'a class that recycles what it says is to be deleted',
    { storageClass: { ...recycling, reclaimPolicy: 'Delete' } },
    'refuse',
    /reclaimPolicy: Retain.*without onRelease/,
  ],
  [
    'a copy in a class whose claims may get an empty recycled volume',
    { storageClass: recycling, claim: claimWith(called, ofSnapshot) },
    'refuse',
    /use another class for copies/,
  ],
  [
    "another driver's parameter of that name",
    { storageClass: { ...recycling, reclaimPolicy: 'Delete' }, own: { ...own, ownDriver: false } },
    'provision',
    /./,
  ],
  [
    'a claim that has its volume',
    { claim: claimWith(called, { volumeName: 'v' }) },
    'ignore',
    /has the volume v/,
  ],
  [
    "another provisioner's claim",
    { claim: claimWith({ ...called, [annotations.storageProvisioner]: 'other' }) },
    'ignore',
    /other was asked/,
  ],
  [
    'a claim whose newer annotation names another, the older us',
    {
      claim: claimWith({
        ...called,
        [annotations.storageProvisioner]: 'other',
        [annotations.betaStorageProvisioner]: 'loam.dev',
      }),
    },
    'ignore',
    /other was asked/,
  ],
  [
    'a claim migrated to us',
    {
      claim: claimWith({
        ...called,
        [annotations.storageProvisioner]: 'other',
        [annotations.migratedTo]: 'loam.dev',
      }),
    },
    'provision',
    /asked/,
  ],
  [
    'a claim called by the beta annotation only',
    {
      claim: claimWith({
        [annotations.betaStorageProvisioner]: 'loam.dev',
        [annotations.selectedNode]: 'node-a',
      }),
    },
    'provision',
    /asked/,
  ],
  ['a terminating claim', { claim: claimWith(called, {}, going) }, 'ignore', /being deleted/],
  [
    'a terminating claim with a volume begun',
    { claim: claimWith(called, {}, going), hasIntent: true },
    'provision',
    /asked/,
  ],
  [
    'a claim of another node',
    { claim: claimWith({ ...called, [annotations.selectedNode]: 'node-b' }) },
    'ignore',
    /node-b provides/,
  ],
  ['a called claim without its class', { storageClass: undefined }, 'retry', /"fast" is not there/],
  [
    'an uncalled claim without its class',
    { claim: aClaim(), storageClass: undefined, early: true },
    'wait',
    /not there yet/,
  ],
  [
    'an uncalled claim of no class',
    { claim: aClaim({ spec: { storageClassName: '' } }), storageClass: undefined },
    'ignore',
    /no StorageClass/,
  ],
  [
    "a class that is another provisioner's",
    { storageClass: aStorageClass({ provisioner: 'other' }) },
    'ignore',
    /is other's/,
  ],
  [
    'a WaitForFirstConsumer claim without a node',
    { claim: claimWith({ [annotations.storageProvisioner]: 'loam.dev' }) },
    'ignore',
    /first pod decides/,
  ],
  [
    'a claim whose node annotation is empty',
    { claim: claimWith({ ...called, [annotations.selectedNode]: '' }) },
    'ignore',
    /first pod decides/,
  ],
  [
    'an unassigned Immediate claim where placement decides',
    { claim: claimWith({ [annotations.storageProvisioner]: 'loam.dev' }), storageClass: immediate },
    'ignore',
    /placement decides/,
  ],
  [
    'an unassigned Immediate claim on the only node',
    {
      claim: claimWith({ [annotations.storageProvisioner]: 'loam.dev' }),
      storageClass: immediate,
      immediateOnThisNode: true,
    },
    'provision',
    /asked/,
  ],
  [
    'an unassigned Immediate claim whose topologies leave the node out',
    {
      claim: claimWith({ [annotations.storageProvisioner]: 'loam.dev' }),
      storageClass: { ...immediate, allowedTopologies: elsewhere },
      immediateOnThisNode: true,
    },
    'ignore',
    /leave this node out/,
  ],
  ['a claim whose PV exists', { existing: aPersistentVolume() }, 'existing', /pvc-uid-1 exists/],
  ['an uncalled claim with early off', { claim: aClaim() }, 'wait', /--early=false/],
  ['an uncalled claim with early on', { claim: aClaim(), early: true }, 'provision', /every condition/],
  [
    'an uncalled claim with stale watches',
    { claim: aClaim(), early: true, watchesAreLive: false },
    'wait',
    /may be old/,
  ],
  ['a called claim with stale watches', { watchesAreLive: false }, 'provision', /asked/],
  [
    "a populator's claim",
    { claim: claimWith(called, { dataSourceRef: { apiGroup: 'pop.example', kind: 'Image', name: 'seed' } }) },
    'populator',
    /^Assuming an external populator will provision the volume$/,
  ],
  [
    'a restore',
    {
      claim: claimWith(called, {
        dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 's' },
      }),
    },
    'refuse',
    /cannot restore snapshot s; /,
  ],
  [
    'a clone',
    { claim: claimWith(called, { dataSource: { kind: 'PersistentVolumeClaim', name: 'old' } }) },
    'refuse',
    /cannot clone claim old; /,
  ],
  [
    'a VolumeAttributesClass',
    { claim: claimWith(called, { volumeAttributesClassName: 'gold' }) },
    'refuse',
    /without volumeAttributesClassName/,
  ],
  ['a driver that makes no volumes', { capabilities: new Set() }, 'refuse', /cannot create volumes/],
  [
    'a selector',
    { claim: claimWith(called, { selector: {} }) },
    'refuse',
    /^claim Selector is not supported$/,
  ],
  [
    'a selected node that the class leaves out',
    { storageClass: aStorageClass({ allowedTopologies: elsewhere }) },
    'refuse',
    /node-a was selected, but/,
  ],
  ['a called claim for this node', {}, 'provision', /asked/],
];

describe('decideProvision', () => {
  it('says what the volume is to be made of', () => {
    const claim = claimWith(called, { dataSource: { kind: 'PersistentVolumeClaim', name: 'old' } });
    const capabilities = new Set(['CREATE_DELETE_VOLUME', 'CLONE_VOLUME', 'MODIFY_VOLUME'] as const);
    const source = { kind: 'claim', namespace: 'shop', name: 'old' };
    expect(decideProvision(facts({ claim, capabilities }))).toMatchObject({ kind: 'provision', source });
    expect(decideProvision(facts({ capabilities }))).not.toHaveProperty('source');
    const gold = claimWith(called, { volumeAttributesClassName: 'gold' });
    expect(decideProvision(facts({ claim: gold, capabilities })).kind).toBe('provision');
  });

  it.each(table)('%s', (_what, changes, kind, reason) => {
    const decision = decideProvision(facts(changes));
    expect(decision.kind).toBe(kind);
    expect(decision.reason).toMatch(reason);
  });

  it('asks to be looked at again only where fresher watches would change its mind', () => {
    const early = { claim: aClaim(), early: true };
    expect(decideProvision(facts({ ...early, watchesAreLive: false }))).toMatchObject({
      kind: 'wait',
      looksAgain: true,
    });
    expect(decideProvision(facts({ claim: aClaim() }))).toMatchObject({ kind: 'wait', looksAgain: false });
  });

  it('reads the beta class annotation before the field', () => {
    const claim = claimWith({ ...called, [annotations.betaStorageClass]: 'gold' });
    expect(decideProvision(facts({ claim, storageClass: undefined })).reason).toMatch(/"gold"/);
  });
});
