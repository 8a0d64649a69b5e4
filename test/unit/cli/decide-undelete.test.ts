import { describe, expect, it } from 'vitest';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import {
  claimFor,
  decideUndelete,
  successorName,
  targetOf,
} from '../../../src/cli/undelete/decide-undelete.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';

const target = { namespace: 'shop', name: 'data' };
const released = (parts: Parameters<typeof aPersistentVolume>[0] = {}): PersistentVolume =>
  aPersistentVolume({ status: { phase: 'Released' }, ...parts });
const decide = (
  volume: PersistentVolume,
  rest: { readonly claim?: PersistentVolumeClaim; readonly others?: readonly PersistentVolume[] } = {},
) => decideUndelete({ volume, others: rest.others ?? [], target, claim: rest.claim, driverName: 'loam.dev' });
const terminating = { deletionTimestamp: '2026-01-01T00:00:00Z' };
const given = { claimRef: { namespace: 'shop', name: 'data' } };

describe('the claim that a volume goes back to', () => {
  it.each([
    [undefined, { namespace: 'shop', name: 'data' }],
    [{ name: 'copy' }, { namespace: 'shop', name: 'copy' }],
    [
      { namespace: 'other', name: 'copy' },
      { namespace: 'other', name: 'copy' },
    ],
  ])('is, told %j, %j', (to, expected) => {
    expect(targetOf(released(), to)).toEqual(expected);
  });

  it('has to be told where the volume names none', () => {
    const free = released({ spec: { claimRef: null } });
    expect(targetOf(free, undefined)).toBeUndefined();
    expect(targetOf(free, { name: 'copy' })).toBeUndefined();
  });

  it('is as large as the volume, of its modes and its classes, and names it', () => {
    const volume = released({
      spec: {
        capacity: { storage: '3Gi' },
        volumeMode: 'Block',
        volumeAttributesClassName: 'gold',
        accessModes: ['ReadWriteOncePod'],
      },
    });
    expect(claimFor(volume, target)).toEqual({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { namespace: 'shop', name: 'data' },
      spec: {
        accessModes: ['ReadWriteOncePod'],
        volumeMode: 'Block',
        storageClassName: 'fast',
        volumeAttributesClassName: 'gold',
        resources: { requests: { storage: '3Gi' } },
        volumeName: 'pvc-uid-1',
      },
    });
  });
});

describe('a released volume', () => {
  it('goes to the claim’s name without a uid, by the version that was looked at, and its retention ends', () => {
    expect(decide(released())).toMatchObject({
      kind: 'give-back',
      patch: {
        metadata: {
          resourceVersion: '9',
          annotations: { 'loam.dev/retained-until': null, 'pv.kubernetes.io/bound-by-controller': null },
        },
        spec: { claimRef: { namespace: 'shop', name: 'data', uid: null, resourceVersion: null } },
      },
    });
  });

  it('that waits for its claim lacks only that, whatever the binder has made of its phase yet', () => {
    for (const phase of ['Released', 'Available', 'Pending'] as const) {
      expect(decide(released({ spec: given, status: { phase } }))).toMatchObject({
        kind: 'claim',
        manifest: { spec: { volumeName: 'pvc-uid-1' } },
      });
    }
  });

  it('that was set free by hand loses its old end, too', () => {
    const metadata = { annotations: { 'loam.dev/retained-until': '2026-01-01T00:00:00Z' } };
    expect(decide(released({ metadata, spec: given })).kind).toBe('give-back');
  });

  it('is done with once the claim is there, or bound', () => {
    const available = released({ spec: given, status: { phase: 'Available' } });
    expect(decide(available, { claim: aClaim() })).toMatchObject({ kind: 'done', isBound: false });
    const spec = { volumeName: 'pvc-uid-1', resources: { requests: { storage: '9Gi' } } };
    const claim = aClaim({ spec, status: { phase: 'Bound' } });
    expect(decide(aPersistentVolume(), { claim })).toMatchObject({ kind: 'done', isBound: true });
  });

  it.each([{ volumeName: 'pvc-uid-1' }, { volumeName: '' }])(
    'is not yet bound while the binder is in the middle of it: %j',
    (spec) => {
      const decision = decide(aPersistentVolume(), { claim: aClaim({ spec }) });
      expect(decision).toMatchObject({ kind: 'done', isBound: false, reason: /is being bound to/ });
    },
  );
});

describe('the PV that takes the place of one that goes', () => {
  it('has a name that is one, and nobody else’s, however long the old one is', () => {
    expect(successorName('pvc-1')).toBe('pvc-1-undeleted');
    const names = ['.', '-', '--'].flatMap((between) =>
      [198, 199, 200, 242, 243].flatMap((at) =>
        ['y', 'z'].map((end) => `${'n'.repeat(at)}${between}`.padEnd(252, 'n').concat(end)),
      ),
    );
    const successors = names.map(successorName);
    expect(new Set(successors).size).toBe(new Set(names).size);
    for (const name of successors) {
      expect(name.length).toBeLessThanOrEqual(253);
      expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
    }
  });
});

describe('a volume that is just being bound', () => {
  it.each(['Released', 'Available', 'Bound'] as const)('is done with, while its phase is %s', (phase) => {
    expect(decide(aPersistentVolume({ status: { phase } }), { claim: aClaim() }).kind).toBe('done');
  });

  it('is not, where the claim is a newer one', () => {
    const claim = aClaim({ metadata: { uid: 'uid-2' } });
    expect(decide(aPersistentVolume({ status: { phase: 'Available' } }), { claim }).kind).toBe('refuse');
    expect(decide(released(), { claim }).kind).toBe('give-back');
  });

  it('is not, where it is being deleted', () => {
    expect(decide(aPersistentVolume({ metadata: terminating }), { claim: aClaim() }).reason).toContain(
      'Retain',
    );
  });
});

describe('undelete refuses', () => {
  const marked = { annotations: { 'loam.dev/reclaiming': 'uid-1' } };
  it.each([
    ['while the data is being destroyed', released({ metadata: marked }), /is being destroyed/],
    [
      'another driver’s',
      released({ spec: { csi: { driver: 'other.dev', volumeHandle: 'v' } } }),
      /of driver other\.dev/,
    ],
    ['a bound one', aPersistentVolume(), /Bound to claim shop\/data.*Retain/],
    ['a failed one', released({ status: { phase: 'Failed' } }), /what is left of its data is not certain/],
    ['one that is bound and being deleted', aPersistentVolume({ metadata: terminating }), /Bound to claim/],
    [
      'a free one',
      released({ spec: { claimRef: null }, status: { phase: 'Available' } }),
      /Available for no claim/,
    ],
  ])('%s', (_, volume, reason) => {
    const decision = decide(volume);
    expect(decision.kind).toBe('refuse');
    expect(decision.reason).toMatch(reason);
  });

  it.each([
    ['has another volume', { spec: { volumeName: 'pvc-2' } }, /has another volume, pvc-2/],
    [
      'is larger',
      { spec: { resources: { requests: { storage: '2Gi' } } } },
      /asks for 2Gi, the volume has 1Gi/,
    ],
    [
      'has another mode',
      { spec: { volumeMode: 'Block' as const } },
      /has volumeMode Block, the volume Filesystem/,
    ],
    ['has another class', { spec: { storageClassName: 'slow' } }, /has class "slow", the volume "fast"/],
    [
      'wants another access mode',
      { spec: { accessModes: ['ReadWriteMany'] } },
      /wants access mode ReadWriteMany, the volume has ReadWriteOnce/,
    ],
    [
      'has an attributes class',
      { spec: { volumeAttributesClassName: 'gold' } },
      /has volumeAttributesClassName "gold", the volume ""/,
    ],
    [
      'asks for data of its own',
      { spec: { dataSource: { kind: 'PersistentVolumeClaim', name: 'old' } } },
      /data of its own \(PersistentVolumeClaim old\)/,
    ],
    ['is being deleted', { metadata: terminating }, /is being deleted/],
  ])('where a claim of that name %s', (_, parts: Parameters<typeof aClaim>[0] & object, reason) => {
    const newer = { metadata: { uid: 'uid-2', ...parts.metadata }, spec: parts.spec ?? {} };
    const decision = decide(released(), { claim: aClaim(newer) });
    expect(decision.kind).toBe('refuse');
    expect(decision.reason).toMatch(reason);
    expect(decision.reason).toContain('claim shop/data');
  });

  it('where another PV has the same data', () => {
    const other = aPersistentVolume({ metadata: { name: 'by-hand', uid: 'pv-2' } });
    expect(decide(released(), { others: [other] }).reason).toContain(
      'PersistentVolume by-hand stands for the same data',
    );
    const elsewhere = aPersistentVolume({
      metadata: { name: 'by-hand', uid: 'pv-2' },
      spec: {
        csi: {
          driver: 'loam.dev',
          volumeHandle: 'pvc-uid-1',
          volumeAttributes: { 'loam.dev/pool-uuid': 'pool-2' },
        },
      },
    });
    expect(decide(released(), { others: [elsewhere] }).kind).toBe('give-back');
  });
});

describe('a volume that is being deleted', () => {
  const going = (changes: Partial<PersistentVolume['spec']> = {}) =>
    released({
      metadata: {
        ...terminating,
        labels: { 'loam.dev/node': 'node-a' },
        annotations: {
          'pv.kubernetes.io/provisioned-by': 'loam.dev',
          'loam.dev/retain-for': '24h',
          'loam.dev/retained-until': '2026-01-01T00:00:00Z',
        },
      },
      spec: changes,
    });
  const successor = aPersistentVolume({
    metadata: { name: 'pvc-uid-1-undeleted', uid: 'pv-2', annotations: {} },
    spec: given,
    status: { phase: 'Available' },
  });

  it('first gets another over the same data, for the claim, that nobody is said to have provisioned', () => {
    const decision = decide(going());
    expect(decision).toMatchObject({
      kind: 'succeed',
      successor: {
        metadata: {
          name: 'pvc-uid-1-undeleted',
          labels: { 'loam.dev/node': 'node-a' },
          annotations: { 'loam.dev/retain-for': '24h' },
          finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
        },
        spec: { ...going().spec, claimRef: { namespace: 'shop', name: 'data' } },
      },
    });
    const made = decision.kind === 'succeed' ? decision.successor : undefined;
    expect(Object.keys(made?.metadata.annotations ?? {})).toEqual(['loam.dev/retain-for']);
    expect(made?.spec.claimRef).not.toHaveProperty('uid');
    expect(made?.metadata).not.toHaveProperty('uid');
    expect(made).not.toHaveProperty('status');
  });

  it('may go without its data only once the other stands, and as it was looked at', () => {
    expect(decide(going(), { others: [successor] })).toMatchObject({
      kind: 'let-go',
      patch: { metadata: { resourceVersion: '9' }, spec: { persistentVolumeReclaimPolicy: 'Retain' } },
    });
  });

  it('is followed by the other', () => {
    const decision = decide(going({ persistentVolumeReclaimPolicy: 'Retain' }), { others: [successor] });
    expect(decision).toMatchObject({ kind: 'follow', successor: 'pvc-uid-1-undeleted' });
    expect(decide(successor)).toMatchObject({
      kind: 'claim',
      manifest: { spec: { volumeName: 'pvc-uid-1-undeleted' } },
    });
  });

  it('is not given back while it is destroyed, and whoever made another is told what to look at', () => {
    const marked = { ...going() };
    marked.metadata = { ...marked.metadata, annotations: { 'loam.dev/reclaiming': 'uid-1' } };
    const { kind, reason } = decide(marked, { others: [successor] });
    expect(kind).toBe('refuse');
    expect(reason).toContain(
      'if loam volumes on its node does not list pvc-uid-1 any more, delete that PersistentVolume',
    );
  });
});
