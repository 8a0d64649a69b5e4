import { describe, expect, it } from 'vitest';
import {
  bindCompleted,
  boundByController,
  decideClaim,
  selectedNode,
  type ClaimFacts,
} from '../../../src/embedded/decide-claim.ts';
import { decideVolume } from '../../../src/embedded/decide-volume.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { aClaim, aClass, aVolume } from './builders.ts';

const waiting = aClass('local', { volumeBindingMode: 'WaitForFirstConsumer' });
const immediate = aClass('local', { volumeBindingMode: 'Immediate' });

function available(name: string, spec: Partial<PersistentVolume['spec']> = {}): PersistentVolume {
  return { ...aVolume(name, spec), status: { phase: 'Available' } };
}
function facts(volumes: PersistentVolume[] = [], over: Partial<ClaimFacts> = {}): ClaimFacts {
  return {
    volumes: () => volumes,
    named: undefined,
    storageClass: immediate,
    waitingPods: () => [],
    ...over,
  };
}
const claim = aClaim('data', {}, { uid: 'u1' });
const refTo = (uid?: string) => ({
  namespace: 'default',
  name: 'data',
  ...(uid === undefined ? {} : { uid }),
});

describe('a claim without a volume', () => {
  it('takes the smallest Available PV that fits', () => {
    const volumes = [
      available('large', { capacity: { storage: '10Gi' } }),
      available('best', { capacity: { storage: '2Gi' } }),
      available('small', { capacity: { storage: '512Mi' } }),
      available('class', { storageClassName: 'other' }),
      available('block', { volumeMode: 'Block' }),
      available('modes', { accessModes: ['ReadOnlyMany'] }),
      available('taken', { claimRef: { namespace: 'default', name: 'else' } }),
      { ...available('released'), status: { phase: 'Released' as const } },
    ];
    expect(decideClaim(claim, facts(volumes))).toMatchObject({
      kind: 'bind',
      volume: { metadata: { name: 'best' } },
    });
  });

  it('takes the PV that is reserved for it before any other, in whatever phase', () => {
    const reserved = {
      ...aVolume('reserved', { capacity: { storage: '9Gi' }, claimRef: refTo('u1') }),
      status: { phase: 'Bound' as const },
    };
    const step = decideClaim(claim, facts([available('smaller'), reserved], { storageClass: waiting }));
    expect(step).toMatchObject({ kind: 'bind', volume: { metadata: { name: 'reserved' } } });
  });

  it('does not take a PV that is reserved for an earlier claim of the same name', () => {
    const reserved = available('reserved', { claimRef: refTo('older') });
    expect(decideClaim(claim, facts([reserved])).kind).toBe('ask-provisioner');
  });

  it('asks the provisioner of its class by name when nothing fits', () => {
    expect(decideClaim(claim, facts())).toMatchObject({
      kind: 'ask-provisioner',
      provisioner: 'loam.dev',
      notice: { reason: 'ExternalProvisioning' },
    });
  });

  it('waits for a pod and its node under WaitForFirstConsumer, free PVs or not', () => {
    const free = [available('free')];
    expect(decideClaim(claim, facts(free, { storageClass: waiting }))).toMatchObject({
      notice: { reason: 'WaitForFirstConsumer' },
    });
    const scheduled = facts(free, { storageClass: waiting, waitingPods: () => ['p'] });
    expect(decideClaim(claim, scheduled)).toMatchObject({
      notice: { reason: 'WaitForPodScheduled', message: 'waiting for pod(s) p to be scheduled' },
    });
    const selected = aClaim('data', {}, { uid: 'u1', annotations: { [selectedNode]: 'a' } });
    expect(decideClaim(selected, facts(free, { storageClass: waiting })).kind).toBe('ask-provisioner');
  });

  it('says so when its class does not exist, or when it has none', () => {
    const { storageClass: _, ...rest } = facts();
    expect(decideClaim(claim, { ...rest, storageClass: undefined })).toMatchObject({
      kind: 'wait',
      notice: { reason: 'ProvisioningFailed' },
    });
    const classless = aClaim('data', { storageClassName: '' });
    expect(decideClaim(classless, facts())).toMatchObject({
      kind: 'wait',
      notice: { reason: 'FailedBinding' },
    });
  });
});

describe('a claim that names its volume', () => {
  const naming = aClaim('data', { volumeName: 'v' }, { uid: 'u1' });
  it.each<[string, PersistentVolume | undefined, object]>([
    ['waits until it exists', undefined, { kind: 'wait' }],
    ['binds a free one', available('v'), { kind: 'bind' }],
    ['binds one reserved for it', available('v', { claimRef: refTo() }), { kind: 'bind' }],
    [
      'waits while it is too small',
      available('v', { capacity: { storage: '1Mi' } }),
      { kind: 'wait', notice: { reason: 'VolumeMismatch' } },
    ],
    [
      'waits while another has it',
      available('v', { claimRef: { namespace: 'x', name: 'y' } }),
      { kind: 'wait', notice: { reason: 'FailedBinding' } },
    ],
  ])('%s', (_, named, expected) => expect(decideClaim(naming, facts([], { named }))).toMatchObject(expected));
});

describe('a claim that was bound', () => {
  const bound = aClaim('data', { volumeName: 'v' }, { uid: 'u1', annotations: { [bindCompleted]: 'yes' } });
  it.each<[string, PersistentVolumeClaim, PersistentVolume | undefined, object]>([
    ['is lost with its PV', bound, undefined, { kind: 'lose', notice: { reason: 'ClaimLost' } }],
    [
      'is lost when its volumeName is gone',
      aClaim('data', {}, bound.metadata),
      undefined,
      { kind: 'lose', notice: { reason: 'ClaimLost' } },
    ],
    [
      "is misbound when the PV is another claim's",
      bound,
      available('v', { claimRef: refTo('u2') }),
      { kind: 'lose', notice: { reason: 'ClaimMisbound' } },
    ],
    ['is bound again when the PV forgot it', bound, available('v'), { kind: 'bind' }],
    ['stays bound', bound, available('v', { claimRef: refTo('u1') }), { kind: 'bind' }],
  ])('%s', (_, claim, named, expected) =>
    expect(decideClaim(claim, facts([], { named }))).toMatchObject(expected),
  );
});

describe('a PV', () => {
  const withPolicy = (
    policy: 'Delete' | 'Retain' | 'Recycle',
    phase: 'Bound' | 'Released' | 'Failed',
    annotations = {},
  ) => ({
    ...aVolume('v', { claimRef: refTo('u1'), persistentVolumeReclaimPolicy: policy }, { annotations }),
    status: { phase },
  });
  const elsewhere = aClaim('data', { volumeName: 'w' }, { uid: 'u1' });
  const provisioned = { 'pv.kubernetes.io/provisioned-by': 'loam.dev' };

  it.each<[string, PersistentVolume, PersistentVolumeClaim | undefined, object]>([
    [
      'without a claim is Available, from any phase',
      { ...aVolume('v'), status: { phase: 'Released' } },
      undefined,
      { kind: 'set-phase', phase: 'Available' },
    ],
    [
      'reserved by name is Available',
      aVolume('v', { claimRef: refTo() }),
      claim,
      { kind: 'set-phase', phase: 'Available' },
    ],
    [
      'whose claim is gone is Released',
      withPolicy('Delete', 'Bound'),
      undefined,
      { kind: 'set-phase', phase: 'Released' },
    ],
    [
      'whose claim was replaced is Released',
      withPolicy('Retain', 'Bound'),
      aClaim('data', {}, { uid: 'u2' }),
      { kind: 'set-phase', phase: 'Released' },
    ],
    ['stays Released under Retain', withPolicy('Retain', 'Released'), undefined, { kind: 'nothing' }],
    [
      "stays Released under Delete: that is the provisioner's",
      withPolicy('Delete', 'Released'),
      undefined,
      { kind: 'nothing' },
    ],
    [
      'fails under Recycle',
      withPolicy('Recycle', 'Released'),
      undefined,
      { kind: 'set-phase', phase: 'Failed', notice: { reason: 'VolumeFailedRecycle' } },
    ],
    ['stays Failed', withPolicy('Delete', 'Failed'), undefined, { kind: 'nothing' }],
    [
      'whose claim is not bound waits for the claim',
      withPolicy('Delete', 'Bound'),
      claim,
      { kind: 'sync-claim' },
    ],
    [
      'of its claim is Bound',
      withPolicy('Delete', 'Bound'),
      aClaim('data', { volumeName: 'v' }, { uid: 'u1' }),
      { kind: 'set-phase', phase: 'Bound' },
    ],
    [
      'provisioned for a claim that took another is Released',
      withPolicy('Delete', 'Bound', provisioned),
      elsewhere,
      { kind: 'set-phase', phase: 'Released' },
    ],
    [
      'bound by the controller to such a claim is free again',
      withPolicy('Retain', 'Bound', { [boundByController]: 'yes' }),
      elsewhere,
      { kind: 'unbind', clear: 'ref' },
    ],
    [
      'reserved by its user for such a claim stays reserved',
      withPolicy('Retain', 'Bound'),
      elsewhere,
      { kind: 'unbind', clear: 'uid' },
    ],
  ])('%s', (_, volume, named, expected) => expect(decideVolume(volume, named)).toMatchObject(expected));
});
