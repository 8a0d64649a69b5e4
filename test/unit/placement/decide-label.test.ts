import { describe, expect, it } from 'vitest';
import { decideClaimLabel, decideVolumeLabel } from '../../../src/placement/decide-label.ts';
import { projectLabelledClaim, projectLabelledVolume } from '../../../src/placement/project.ts';
import { labelValueOf } from '../../../src/model/topology-value.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';

const label = (value: string) => ({ labels: { 'loam.dev/node': value } });
const chosen = (node: string) => ({ annotations: { 'volume.kubernetes.io/selected-node': node } });
const selected = (node: string) => ({
  annotations: { ...chosen(node).annotations, ...calledFor('loam.dev').annotations },
});
const calledFor = (name: string) => ({ annotations: { 'volume.kubernetes.io/storage-provisioner': name } });
const ofClass = aStorageClass();
const long = `${'n'.repeat(60)}.example.org`;

/** As placement has it: what is projected away may not matter. */
const decideClaim = (
  parts: Parameters<typeof aClaim>[0],
  storageClass: typeof ofClass | undefined = ofClass,
) => decideClaimLabel(projectLabelledClaim(aClaim(parts)), storageClass, 'loam.dev');

describe('the label of a claim', () => {
  it.each([
    ['is written where a node is selected', { metadata: selected('node-a') }, 'node-a'],
    ['is corrected at once', { metadata: { ...chosen('node-a'), ...label('node-b') } }, 'node-a'],
    ['is corrected', { metadata: { ...selected('node-a'), ...label('node-b') } }, 'node-a'],
    [
      'is taken off where the selected node is gone',
      { metadata: { annotations: {}, ...label('node-a') } },
      null,
    ],
    ['counts an empty selected node as none', { metadata: { ...selected(''), ...label('node-a') } }, null],
    [
      'is none for what cannot be the name of a node',
      { metadata: { ...selected('no node!'), ...label('node-a') } },
      null,
    ],
    ['is a hash for a long name', { metadata: selected(long) }, labelValueOf(long)],
    [
      'is kept for a bound claim, too',
      {
        metadata: selected('node-a'),
        spec: { volumeName: 'pvc-uid-1' },
        status: { phase: 'Bound' as const },
      },
      'node-a',
    ],
    [
      'is kept for a claim that is being deleted, too',
      { metadata: { ...selected('node-a'), deletionTimestamp: '2026-01-01T00:00:00Z' } },
      'node-a',
    ],
  ])('%s', (_, parts, value) => {
    expect(decideClaim(parts)).toMatchObject({ kind: 'write', value });
  });

  it.each([
    ['it is right', { metadata: { ...selected('node-a'), ...label('node-a') } }],
    ['kube-controller-manager has not asked yet', { metadata: chosen('node-a') }],
    ['there is no node and no label', { metadata: { annotations: {} } }],
    ['what cannot be a node has none', { metadata: selected('-') }],
  ])('is left alone where %s', (_, parts) => {
    expect(decideClaim(parts).kind).toBe('keep');
  });

  it("is left alone on claims of others' classes", () => {
    const theirs = aStorageClass({ provisioner: 'other.example' });
    for (const metadata of [chosen('node-a'), { ...label('node-b'), annotations: {} }])
      expect(decideClaim({ metadata }, theirs).kind).toBe('keep');
  });

  it("follows kube-controller-manager's word where the class is gone", () => {
    const decide = (driver: string) => {
      const annotations = { ...chosen('node-a').annotations, ...calledFor(driver).annotations };
      return decideClaimLabel(
        projectLabelledClaim(aClaim({ metadata: { annotations } })),
        undefined,
        'loam.dev',
      );
    };
    expect(decide('loam.dev')).toMatchObject({ kind: 'write', value: 'node-a' });
    expect(decide('other.example').kind).toBe('keep');
    expect(decideClaimLabel(aClaim(), undefined, 'loam.dev').kind).toBe('keep');
  });
});

const at = (...terms: { key: string; operator?: string; values: string[] }[][]) => ({
  spec: {
    nodeAffinity: {
      required: {
        nodeSelectorTerms: terms.map((matchExpressions) => ({
          matchExpressions: matchExpressions.map(({ operator = 'In', ...rest }) => ({ operator, ...rest })),
        })),
      },
    },
  },
});
const key = 'topology.loam.dev/node';
const decideVolume = (parts: Parameters<typeof aPersistentVolume>[0]) =>
  decideVolumeLabel(projectLabelledVolume('loam.dev')(aPersistentVolume(parts)), 'loam.dev');

describe('the label of a PV', () => {
  it.each([
    ['one of ours', {}, 'node-a'],
    ["an admin's", { metadata: { annotations: {} } }, 'node-a'],
    [
      "an admin's that is free and has a wrong one",
      {
        metadata: { annotations: {}, ...label('node-b') },
        spec: { claimRef: null },
        status: { phase: 'Available' as const },
      },
      'node-a',
    ],
    ['one with a wrong label', { metadata: label('node-b') }, 'node-a'],
    [
      'one that is being reclaimed',
      { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' }, status: { phase: 'Released' as const } },
      'node-a',
    ],
    ['one that says it twice', at([{ key, values: ['node-c'] }], [{ key, values: ['node-c'] }]), 'node-c'],
  ])('is written on %s', (_, parts, value) => {
    expect(decideVolume(parts)).toMatchObject({ kind: 'write', value });
  });

  it.each([
    ['it is right', { metadata: label('node-a') }],
    ["it is another driver's", { spec: { csi: { driver: 'other.example', volumeHandle: 'x' } } }],
    [
      'another provisioner made it',
      { metadata: { annotations: { 'pv.kubernetes.io/provisioned-by': 'other.example' } } },
    ],
    ['it has no nodeAffinity', { spec: { nodeAffinity: {} }, metadata: label('node-b') }],
    ['it is free', { spec: { claimRef: null }, status: { phase: 'Available' as const } }],
    ['it is new', { status: {} }],
    ['it names two nodes', at([{ key, values: ['node-a', 'node-b'] }])],
    ['it names two nodes in two terms', at([{ key, values: ['node-a'] }], [{ key, values: ['node-b'] }])],
    ['it excludes a node', at([{ key, operator: 'NotIn', values: ['node-a'] }])],
    [
      'it asks for more',
      at([
        { key, values: ['node-a'] },
        { key: 'zone', values: ['z'] },
      ]),
    ],
    ['one of its terms has another key', at([{ key, values: ['node-a'] }], [{ key: 'zone', values: ['z'] }])],
    ['the value cannot be a label', at([{ key, values: ['no node!'] }])],
  ])('is left alone where %s', (_, parts) => {
    expect(decideVolume(parts).kind).toBe('keep');
  });
});
