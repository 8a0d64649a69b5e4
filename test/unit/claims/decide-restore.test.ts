import { describe, expect, it } from 'vitest';
import { decideRestore, type RestoreFacts } from '../../../src/claims/decide-restore.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { aContent, aSnapshot, monday } from './sources.ts';

const claim = aClaim({ spec: { dataSource: monday } });
const decide = (changes: Partial<RestoreFacts>) =>
  decideRestore({ claim, driverName: 'loam.dev', snapshot: aSnapshot(), content: aContent(), ...changes });
const protectedBy = 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection';
const going = { deletionTimestamp: '2026-01-01T00:00:00Z' };
const blockClaim = aClaim({ spec: { dataSource: monday, volumeMode: 'Block' } });
const allowed = { annotations: { 'snapshot.storage.kubernetes.io/allow-volume-mode-change': 'true' } };

const refused: [what: string, changes: Partial<RestoreFacts>, reason: RegExp][] = [
  ['being deleted', { snapshot: aSnapshot({ metadata: going }) }, /^snapshot shop\/monday is being deleted/],
  [
    'not bound yet',
    { snapshot: aSnapshot({ status: { boundVolumeSnapshotContentName: '' } }) },
    /not bound .* snapshot-controller/,
  ],
  ['without its content', { content: undefined }, /VolumeSnapshotContent c-monday of .* is not there/],
  ...['uid', 'name', 'namespace'].map((field): [string, Partial<RestoreFacts>, RegExp] => [
    `whose content names another snapshot by ${field}`,
    {
      content: aContent({
        spec: {
          volumeSnapshotRef: { namespace: 'shop', name: 'monday', uid: 'vs-1', [field]: 'other' },
        },
      }),
    },
    /bound to another VolumeSnapshot/,
  ]),
  [
    'of another driver',
    { content: aContent({ spec: { driver: 'other.dev' } }) },
    /of driver other\.dev, the class is of loam\.dev/,
  ],
  [
    'not ready, with what went wrong',
    { snapshot: aSnapshot({ status: { readyToUse: false, error: { message: 'no room' } } }) },
    /not ready to use yet: no room/,
  ],
  [
    'not ready, since no node has said that it has it',
    {
      snapshot: aSnapshot({ status: { readyToUse: false } }),
      content: aContent({ metadata: { labels: {} }, spec: { source: { snapshotHandle: 'snap_typo' } } }),
    },
    /no node has said that it has snap_typo; check the snapshotHandle of VolumeSnapshotContent c-monday/,
  ],
  ['without a handle', { content: aContent({ status: { snapshotHandle: '' } }) }, /names no snapshot handle/],
  [
    'larger than the claim',
    { snapshot: aSnapshot({ status: { restoreSize: '1073741825' } }) },
    /which is 1 bytes less; ask for as much or more/,
  ],
  [
    'larger than the claim by its content',
    {
      snapshot: { ...aSnapshot(), status: { boundVolumeSnapshotContentName: 'c-monday', readyToUse: true } },
      content: aContent({ status: { restoreSize: 2 ** 31 } }),
    },
    /needs 2 GiB/,
  ],
  [
    'of another mode',
    { claim: blockClaim },
    /of mode Filesystem, the claim asks for Block; .* on VolumeSnapshotContent c-monday/,
  ],
];

describe('a restore', () => {
  it('is made of the handle that the content names, on the node of its label', () => {
    expect(decide({})).toEqual({
      kind: 'ready',
      contentSource: { kind: 'snapshot', snapshotId: 'snap-1' },
      node: 'node-a',
      capturedVolume: 'pvc-uid-old',
    });
  });

  it.each(refused)('waits for a snapshot that is %s', (_, changes, reason) => {
    const decision = decide(changes);
    expect(decision).toMatchObject({ kind: 'not-ready', reason: expect.stringMatching(reason) as string });
  });

  it.each<[string, Partial<RestoreFacts>]>([
    [
      'being deleted and protected already',
      { snapshot: aSnapshot({ metadata: { ...going, finalizers: [protectedBy] } }) },
    ],
    [
      'of another mode where an administrator allowed it',
      { claim: blockClaim, content: aContent({ metadata: { ...allowed } }) },
    ],
    ['of no known mode', { claim: blockClaim, content: withoutMode() }],
    ['smaller than the claim', { snapshot: aSnapshot({ status: { restoreSize: '1Mi' } }) }],
    ['of no known size', { snapshot: withoutSize(), content: aContent({ status: { restoreSize: 0 } }) }],
    ['of a content without a label', { content: aContent({ metadata: { labels: {} } }) }],
  ])('goes ahead with a snapshot that is %s', (_, changes) => {
    expect(decide(changes).kind).toBe('ready');
  });
});

function withoutMode() {
  const content = aContent();
  delete content.spec.sourceVolumeMode;
  return content;
}

function withoutSize() {
  const snapshot = aSnapshot();
  delete snapshot.status?.restoreSize;
  return snapshot;
}
