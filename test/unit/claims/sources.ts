import type { PersistentVolume, VolumeSnapshot, VolumeSnapshotContent } from '../../../src/kube/objects.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';

export const monday = {
  apiGroup: 'snapshot.storage.k8s.io',
  kind: 'VolumeSnapshot',
  name: 'monday',
};
export const old = { kind: 'PersistentVolumeClaim', name: 'old' };

type Parts<T extends { metadata: object; spec: object }> = {
  readonly metadata?: Partial<T['metadata']>;
  readonly spec?: Partial<T['spec']>;
  readonly status?: object;
};

/** Snapshot `monday` of volume `pvc-uid-old`, 1Gi, ready, bound to content `c-monday`. */
export function aSnapshot({ metadata, spec, status }: Parts<VolumeSnapshot> = {}): VolumeSnapshot {
  return {
    metadata: { name: 'monday', namespace: 'shop', uid: 'vs-1', ...metadata },
    spec: { source: { persistentVolumeClaimName: 'old' }, ...spec },
    status: {
      boundVolumeSnapshotContentName: 'c-monday',
      readyToUse: true,
      restoreSize: '1Gi',
      ...status,
    },
  };
}

/** Its content, on node-a. */
export function aContent({
  metadata,
  spec,
  status,
}: Parts<VolumeSnapshotContent> = {}): VolumeSnapshotContent {
  return {
    metadata: { name: 'c-monday', uid: 'vsc-1', labels: { 'loam.dev/node': 'node-a' }, ...metadata },
    spec: {
      deletionPolicy: 'Delete',
      driver: 'loam.dev',
      source: { volumeHandle: 'pvc-uid-old' },
      sourceVolumeMode: 'Filesystem',
      volumeSnapshotRef: { namespace: 'shop', name: 'monday', uid: 'vs-1' },
      ...spec,
    },
    status: { snapshotHandle: 'snap-1', readyToUse: true, restoreSize: 1 << 30, ...status },
  };
}

/** The PV of claim `old`, on node-a unless told. */
export function theOldVolume(
  node = 'node-a',
  spec: Partial<PersistentVolume['spec']> = {},
): PersistentVolume {
  return aPersistentVolume({
    metadata: { name: 'pvc-uid-old', uid: 'pv-old', labels: { 'loam.dev/node': node } },
    spec: {
      claimRef: { namespace: 'shop', name: 'old', uid: 'uid-old' },
      csi: {
        driver: 'loam.dev',
        volumeHandle: 'pvc-uid-old',
        volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
      },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: [node] }] },
          ],
        },
      },
      ...spec,
    },
  });
}
