import { describe, expect, it } from 'vitest';
import type { TypedReference } from '../../../src/kube/objects.ts';
import type { ControllerCapability } from '../../../src/model/csi-driver.ts';
import { decideDataSource } from '../../../src/provisioner/decide-data-source.ts';
import { aClaim } from '../../support/kube-objects.ts';

const snapshot = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'monday' };
const claim = { kind: 'PersistentVolumeClaim', name: 'old' };

const table: [
  what: string,
  source: TypedReference,
  can: ControllerCapability[],
  kind: string,
  reason: RegExp,
][] = [
  [
    'a snapshot of another group is a populator’s',
    { ...snapshot, apiGroup: 'x.example' },
    [],
    'populator',
    /populator/,
  ],
  [
    'a claim of some group is a populator’s',
    { ...claim, apiGroup: 'x.example' },
    [],
    'populator',
    /populator/,
  ],
  ['an unknown kind is a populator’s', { kind: 'ConfigMap', name: 'seed' }, [], 'populator', /populator/],
  ['a source without a name is refused', { ...claim, name: '' }, [], 'refuse', /has no name/],
  [
    'a source in another namespace is refused',
    { ...claim, namespace: 'other' },
    [],
    'refuse',
    /another namespace/,
  ],
  [
    'a restore without the capability is refused',
    snapshot,
    [],
    'refuse',
    /driver cannot restore snapshot monday/,
  ],
  ['a clone without the capability is refused', claim, [], 'refuse', /driver cannot clone claim old/],
  ['a name that is none is refused', { ...claim, name: '../x' }, [], 'refuse', /cannot be the name of a/],
];

describe('decideDataSource', () => {
  it('has nothing to say of a claim that begins empty', () => {
    expect(decideDataSource(aClaim(), new Set())).toEqual({ kind: 'empty' });
  });

  it.each(table)('%s', (_what, source, can, kind, reason) => {
    const decision = decideDataSource(aClaim({ spec: { dataSource: source } }), new Set(can));
    expect(decision).toMatchObject({ kind, reason: expect.stringMatching(reason) as string });
  });

  it('goes on with what the driver can make copies of', () => {
    const of = (dataSource: TypedReference, can: ControllerCapability[]) =>
      decideDataSource(aClaim({ spec: { dataSource } }), new Set(can));
    const restore = { kind: 'snapshot', namespace: 'shop', name: 'monday' };
    expect(of(snapshot, ['CREATE_DELETE_SNAPSHOT'])).toEqual(restore);
    const clone = { kind: 'claim', namespace: 'shop', name: 'old' };
    expect(of({ ...claim, namespace: 'shop' }, ['CLONE_VOLUME'])).toEqual(clone);
    expect(of(snapshot, ['CLONE_VOLUME']).kind).toBe('refuse');
    expect(of(claim, ['CREATE_DELETE_SNAPSHOT']).kind).toBe('refuse');
  });

  it('refuses two sources, which no API server lets through', () => {
    const both = (name: string) =>
      decideDataSource(
        aClaim({ spec: { dataSource: claim, dataSourceRef: { ...claim, name } } }),
        new Set(['CLONE_VOLUME']),
      ).kind;
    expect([both('old'), both('other')]).toEqual(['claim', 'refuse']);
  });

  it('reads dataSourceRef where dataSource is absent', () => {
    const decision = decideDataSource(
      aClaim({ spec: { dataSourceRef: { kind: 'Image', name: 'seed' } } }),
      new Set(),
    );
    expect(decision.kind).toBe('populator');
  });
});
