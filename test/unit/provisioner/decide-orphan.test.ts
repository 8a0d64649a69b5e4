import { describe, expect, it } from 'vitest';
import { decideOrphan } from '../../../src/provisioner/orphans/decide-orphan.ts';
import { aHeldVolume } from '../../support/held-volumes.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';

const held = aHeldVolume();
const side = { driverName: 'loam.dev', clusterUid: 'cluster-1', nowMs: 3_600_000 };
const csi = (changes: object) => ({ driver: 'loam.dev', volumeHandle: 'pvc-uid-1', ...changes });

describe('a volume on the disks', () => {
  it('is owned by the PV with its driver, handle and pool', () => {
    expect(decideOrphan(held, [aPersistentVolume()], side)).toMatchObject({
      kind: 'owned',
      volume: { metadata: { name: 'pvc-uid-1' } },
      reason: 'PersistentVolume pvc-uid-1 stands for it, for claim shop/data',
    });
  });

  it.each([
    [
      'whose claimRef was pointed at another claim',
      { spec: { claimRef: { namespace: 'other', name: 'rescued', uid: 'uid-9' } } },
    ],
    ['that is of another name', { metadata: { name: 'rescued' } }],
    ['that is being deleted', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }],
    ['that nobody has', { spec: { claimRef: null }, status: { phase: 'Available' as const } }],
    ['that a person wrote without the pool', { spec: { csi: csi({}) } }],
  ])('is owned by a PV %s', (_, parts) => {
    expect(decideOrphan(held, [aPersistentVolume(parts)], side).kind).toBe('owned');
  });

  it.each([
    ['of another driver', { driver: 'other.dev' }],
    [
      'of another pool, as after a disk was replaced',
      { volumeAttributes: { 'loam.dev/pool-uuid': 'pool-2' } },
    ],
    ['of another handle', { volumeHandle: 'pvc-uid-2' }],
  ])('is not owned by a PV %s', (_, changes) => {
    expect(decideOrphan(held, [aPersistentVolume({ spec: { csi: csi(changes) } })], side).kind).toBe(
      'orphan',
    );
  });

  it('is an orphan once its PV was seen and is gone, whoever is left of its claim', () => {
    expect(decideOrphan(held, [], side)).toEqual({
      kind: 'orphan',
      isForeign: false,
      reason: 'made for claim shop/data; its PersistentVolume is gone, and its data was never let go',
    });
  });

  it.each([true, false])('of another cluster is an orphan, its PV seen there or not (%s)', (acknowledged) => {
    const decision = decideOrphan({ ...held, acknowledged, clusterUid: 'cluster-0' }, [], side);
    expect(decision).toMatchObject({ kind: 'orphan', isForeign: true });
    expect(decision.reason).toContain('in another cluster (cluster-0)');
  });

  it('that never had a PV is the sweep’s where the sweep would take it', () => {
    expect(decideOrphan({ ...held, acknowledged: false }, [], side)).toMatchObject({
      kind: 'begun',
      isSwept: true,
    });
  });

  it('that never had a PV is nobody’s to remove while our own cluster is unknown', () => {
    const { clusterUid: _, ...unknown } = side;
    expect(decideOrphan({ ...held, acknowledged: false }, [], unknown)).toMatchObject({
      kind: 'begun',
      isSwept: false,
    });
    expect(decideOrphan(held, [], unknown)).toMatchObject({ kind: 'orphan', isForeign: false });
  });

  it('that somebody else made is an orphan after a minute, and not before', () => {
    const { claim: _, ...others } = { ...held, name: 'by-hand', acknowledged: false };
    expect(decideOrphan(others, [], { ...side, nowMs: 59_999 })).toMatchObject({
      kind: 'begun',
      isSwept: false,
    });
    expect(decideOrphan(others, [], { ...side, nowMs: 60_000 })).toMatchObject({
      kind: 'orphan',
      reason: 'made for no claim that we were told of; no PersistentVolume of it was ever seen',
    });
  });
});
