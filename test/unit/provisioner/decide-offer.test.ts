import { describe, expect, it } from 'vitest';
import type { HeldVolume } from '../../../src/model/volume-ledger.ts';
import { decideFit } from '../../../src/provisioner/adoption/decide-fit.ts';
import { decideOffer, type OfferFacts } from '../../../src/provisioner/adoption/decide-offer.ts';
import { aHeldVolume } from '../../support/held-volumes.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';

const held = aHeldVolume({
  volumeId: 'pvc-old',
  name: 'pvc-old',
  poolName: 'one',
  claim: { namespace: 'shop', name: 'data', uid: 'old' },
  clusterUid: 'cluster-0',
  className: 'fast',
  adopt: 'by-name',
});
const byName = aStorageClass({ parameters: { adopt: 'by-name' } });
const facts: OfferFacts = {
  driverName: 'loam.dev',
  clusterUid: 'cluster-1',
  nowMs: 1e12,
  storageClass: byName,
  claim: undefined,
  sameHandle: [],
  claimVolumes: [],
  twins: [],
};
const standing = aPersistentVolume({
  spec: {
    csi: {
      driver: 'loam.dev',
      volumeHandle: 'pvc-old',
      volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
    },
  },
});
const ours: Partial<HeldVolume> = { clusterUid: 'cluster-1' };

const decide = (volume: Partial<HeldVolume> = {}, changes: Partial<OfferFacts> = {}) =>
  decideOffer({ ...held, ...volume }, { ...facts, ...changes });

describe('offering a volume to the claim of its name', () => {
  it("offers another cluster's at once, whether a claim waits or not", () => {
    expect(decide()).toMatchObject({ kind: 'offer', claim: held.claim, storageClass: byName });
    expect(decide({}, { claim: aClaim() }).kind).toBe('offer');
    expect(decide({ acknowledged: false }).kind).toBe('offer');
  });

  it("offers this cluster's only where a claim of that name waits", () => {
    expect(decide(ours)).toMatchObject({
      kind: 'leave',
      reason: expect.stringContaining('no claim shop/data') as string,
    });
    expect(decide(ours, { claim: aClaim() }).kind).toBe('offer');
  });

  it('takes an unknown cluster for its own', () => {
    expect(decide({}, { clusterUid: undefined }).kind).toBe('leave');
  });

  it('offers one that does not fit the claim, too, so that nobody makes it an empty one', () => {
    const claim = aClaim({ spec: { resources: { requests: { storage: '10Gi' } } } });
    expect(decide({}, { claim }).kind).toBe('offer');
  });

  it.each<[string, Partial<HeldVolume>, Partial<OfferFacts>]>([
    ['its class did not say so', { adopt: 'never' }, {}],
    ['it is being emptied', { isRecycling: true }, {}],
    ['nobody ever had it', { acknowledged: false, used: false }, {}],
    ['its record names no claim', { claim: undefined as never }, {}],
    ['its class is gone', {}, { storageClass: undefined }],
    ['its class says it no more', {}, { storageClass: aStorageClass() }],
    ["its class is another driver's", {}, { storageClass: { ...byName, provisioner: 'other' } }],
    [
      'its class is being deleted',
      {},
      { storageClass: aStorageClass({ ...byName, metadata: { deletionTimestamp: 'now' } }) },
    ],
    [
      'it is an intent of this cluster',
      { ...ours, acknowledged: false, name: 'pvc-old' },
      { claim: aClaim() },
    ],
    ['a PV stands for it', {}, { sameHandle: [standing] }],
    [
      'a PV that names no pool may stand for it',
      {},
      { sameHandle: [{ ...standing, spec: { csi: { driver: 'loam.dev', volumeHandle: 'pvc-old' } } }] },
    ],
    ['another PV names the claim', {}, { claimVolumes: [aPersistentVolume()] }],
    ['another PV names the waiting claim', {}, { claim: aClaim(), claimVolumes: [aPersistentVolume()] }],
    ['the claim is bound', {}, { claim: aClaim({ spec: { volumeName: 'pvc-uid-1' } }) }],
    ['the claim is going', {}, { claim: aClaim({ metadata: { deletionTimestamp: 'now' } }) }],
    ['the claim is of another class', {}, { claim: aClaim({ spec: { storageClassName: 'slow' } }) }],
    [
      'the claim is to be a copy',
      {},
      { claim: aClaim({ spec: { dataSource: { kind: 'PersistentVolumeClaim', name: 'x' } } }) },
    ],
  ])('leaves it where %s', (_why, volume, changes) => {
    expect(decide(volume, changes).kind).toBe('leave');
  });

  it('does not mind a PV of a claim that had the name before', () => {
    const older = aPersistentVolume({
      spec: { claimRef: { namespace: 'shop', name: 'data', uid: 'older' } },
      status: { phase: 'Released' },
    });
    expect(decide({}, { claim: aClaim(), claimVolumes: [older] }).kind).toBe('offer');
  });

  it('chooses none of two of the same name, and names both', () => {
    const twin = { ...held, volumeId: 'pvc-older' };
    const decision = decide({}, { claim: aClaim(), twins: [twin] });
    expect(decision.kind).toBe('ambiguous');
    expect(decision.reason).toMatch(/pvc-old .*pvc-older .*loam adopt.*loam gc --remove/);
  });

  it('names a few of very many, the same whichever of them is asked about', () => {
    const all = Array.from({ length: 20 }, (_, index) => ({ ...held, volumeId: `pvc-${10 + index}` }));
    const reasons = all.map((one) => decide(one, { twins: all.filter((other) => other !== one) }).reason);
    expect(new Set(reasons).size).toBe(1);
    expect(reasons[0]).toMatch(/pvc-10 .*pvc-14 \([^)]*\) and 15 more; none is chosen/);
    expect(reasons[0]).not.toContain('pvc-15');
  });

  it('prefers one that was used to an empty one of the same name', () => {
    const empty = { ...held, volumeId: 'pvc-empty', used: false };
    expect(decide({}, { twins: [empty] }).kind).toBe('offer');
    expect(decide({ used: false }, { twins: [held] }).kind).toBe('leave');
    expect(decide({ used: false }, { twins: [empty] }).kind).toBe('ambiguous');
  });

  it('notes in the record that a PV which was offered stands for it', () => {
    const offered = {
      ...standing,
      metadata: { name: 'adopted-pvc-old', annotations: { 'loam.dev/adopted': 'by-name' } },
    };
    expect(decide({}, { sameHandle: [offered] })).toMatchObject({ kind: 'take', volume: offered });
    expect(decide(ours, { sameHandle: [offered] }).kind).toBe('leave');
  });
});

describe('whether what was offered can be bound', () => {
  const volume = aPersistentVolume();

  it('is so where size and shape fit', () => {
    expect(decideFit(volume, aClaim())).toEqual({ kind: 'fits' });
  });

  it.each<[string, Parameters<typeof aClaim>[0], RegExp]>([
    [
      'size',
      { spec: { resources: { requests: { storage: '10Gi' } } } },
      /asks for 10 GiB.* has 1 GiB.*at most 1Gi.*let it grow.*gc --remove pvc-uid-1/,
    ],
    ['volume mode', { spec: { volumeMode: 'Block' } }, /volumeMode is Block/],
    ['attributes class', { spec: { volumeAttributesClassName: 'gold' } }, /VolumeAttributesClass/],
    ['access mode', { spec: { accessModes: ['ReadWriteMany'] } }, /asks for ReadWriteMany/],
  ])('says what to do about another %s', (_what, parts, text) => {
    const fit = decideFit(volume, aClaim(parts));
    expect(fit).toMatchObject({ kind: 'misfit', reason: expect.stringMatching(text) as string });
  });

  it('changes the modes to ReadWriteOncePod and back', () => {
    const once = aClaim({ spec: { accessModes: ['ReadWriteOncePod'] } });
    expect(decideFit(volume, once)).toEqual({ kind: 'modes', accessModes: ['ReadWriteOncePod'] });
    const changed = aPersistentVolume({ spec: { accessModes: ['ReadWriteOncePod'] } });
    expect(decideFit(changed, once).kind).toBe('fits');
    expect(decideFit(changed, aClaim())).toEqual({ kind: 'modes', accessModes: ['ReadWriteOnce'] });
  });
});
