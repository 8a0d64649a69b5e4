import { describe, expect, it } from 'vitest';
import { type CloneFacts, decideClone } from '../../../src/claims/decide-clone.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { old, theOldVolume } from './sources.ts';

type Parts = Parameters<typeof aClaim>[0];
const source = ({ metadata, spec, status = { phase: 'Bound' } }: NonNullable<Parts> = {}) =>
  aClaim({
    metadata: { name: 'old', uid: 'uid-old', ...metadata },
    spec: { volumeName: 'pvc-uid-old', ...spec },
    status,
  });
const claim = aClaim({ spec: { dataSource: old } });
const decide = (changes: Partial<CloneFacts>) =>
  decideClone({ claim, driverName: 'loam.dev', source: source(), volume: theOldVolume(), ...changes });
const going = { deletionTimestamp: '2026-01-01T00:00:00Z' };
const blank = { namespace: 'shop', name: 'old', uid: 'uid-old' };

const refused: [what: string, changes: Partial<CloneFacts>, reason: RegExp][] = [
  ['being deleted', { source: source({ metadata: going }) }, /^claim shop\/old is being deleted/],
  ['Pending', { source: source({ status: { phase: 'Pending' } }) }, /is not Bound/],
  ['without a volume', { source: source({ spec: { volumeName: '' } }) }, /is not Bound/],
  ['without its PV', { volume: undefined }, /PersistentVolume pvc-uid-old of claim shop\/old is not there/],
  ['of no CSI volume', { volume: withoutCsi() }, /is no CSI volume/],
  [
    'of another driver',
    { volume: theOldVolume('node-a', { csi: { driver: 'other.dev', volumeHandle: 'x' } }) },
    /of driver other\.dev, the class is of loam\.dev/,
  ],
  ...['uid', 'name', 'namespace'].map((field): [string, Partial<CloneFacts>, RegExp] => [
    `whose PV names another claim by ${field}`,
    { volume: theOldVolume('node-a', { claimRef: { ...blank, [field]: 'other' } }) },
    /is not bound to claim shop\/old/,
  ]),
  ['whose PV is Released', { volume: { ...theOldVolume(), status: { phase: 'Released' } } }, /not bound to/],
  [
    'of another mode',
    { claim: aClaim({ spec: { dataSource: old, volumeMode: 'Block' } }) },
    /of mode Filesystem, the claim asks for Block/,
  ],
  [
    'larger than the claim',
    { source: source({ spec: { resources: { requests: { storage: '2Gi' } } } }) },
    /has 2 GiB, .*; ask for as much or more/,
  ],
];

describe('a clone', () => {
  it('is made of the volume of the source, on its node', () => {
    expect(decide({})).toEqual({
      kind: 'ready',
      contentSource: { kind: 'volume', volumeId: 'pvc-uid-old' },
      node: 'node-a',
    });
  });

  it.each(refused)('waits for a claim that is %s', (_, changes, reason) => {
    const decision = decide(changes);
    expect(decision).toMatchObject({ kind: 'not-ready', reason: expect.stringMatching(reason) as string });
  });

  it.each<[string, Partial<CloneFacts>]>([
    [
      'being deleted and protected already',
      {
        source: source({
          metadata: { ...going, finalizers: ['provisioner.storage.kubernetes.io/cloning-protection'] },
        }),
      },
    ],
    ['of another class', { source: source({ spec: { storageClassName: 'other' } }) }],
    ['smaller', { source: source({ spec: { resources: { requests: { storage: '1Mi' } } } }) }],
    ['on no single node', { volume: theOldVolume('node-a', { nodeAffinity: {} }) }],
  ])('goes ahead with a claim that is %s', (_, changes) => {
    expect(decide(changes).kind).toBe('ready');
  });
});

function withoutCsi() {
  const volume = theOldVolume();
  delete volume.spec.csi;
  return volume;
}
