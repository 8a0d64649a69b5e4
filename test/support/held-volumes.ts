import type { ArchivedVolume, HeldVolume } from '../../src/model/volume-ledger.ts';

/** An acknowledged directory of 1 GiB in pool `fast`, made for claim shop/data. */
export function aHeldVolume(changes: Partial<HeldVolume> = {}): HeldVolume {
  return {
    volumeId: 'pvc-uid-1',
    name: 'pvc-uid-1',
    poolName: 'fast',
    poolUuid: 'pool-1',
    backend: 'directory',
    accessType: 'mount',
    sizeBytes: 1n << 30n,
    limit: 'advisory',
    sharing: 'none',
    isRecycling: false,
    acknowledged: true,
    used: true,
    claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
    clusterUid: 'cluster-1',
    adopt: 'never',
    createdAtMs: 0,
    ...changes,
  };
}

/** The same, put away on the first of January 2026. */
export function anArchivedVolume(changes: Partial<ArchivedVolume> = {}): ArchivedVolume {
  return {
    archiveId: 'pvc-uid-1',
    volumeId: 'pvc-uid-1',
    name: 'pvc-uid-1',
    poolName: 'fast',
    poolUuid: 'pool-1',
    path: '/pools/fast/archive/pvc-uid-1',
    sizeBytes: 1n << 30n,
    takenBytes: 5n << 20n,
    claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
    archivedAtMs: Date.UTC(2026, 0, 1),
    ...changes,
  };
}
