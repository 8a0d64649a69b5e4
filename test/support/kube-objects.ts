import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../src/kube/objects.ts';

type ClaimParts = {
  readonly metadata?: Partial<PersistentVolumeClaim['metadata']>;
  readonly spec?: Partial<PersistentVolumeClaim['spec']>;
  readonly status?: PersistentVolumeClaim['status'];
};

/** A Pending claim of class `fast` for 1Gi, for which the scheduler chose node-a. */
export function aClaim({
  metadata = {},
  spec = {},
  status = { phase: 'Pending' },
}: ClaimParts = {}): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: 'data',
      namespace: 'shop',
      uid: 'uid-1',
      resourceVersion: '7',
      annotations: { 'volume.kubernetes.io/selected-node': 'node-a' },
      ...metadata,
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'fast',
      volumeMode: 'Filesystem',
      resources: { requests: { storage: '1Gi' } },
      ...spec,
    },
    status,
  };
}

type ClassParts = Partial<Omit<StorageClass, 'metadata'>> & {
  readonly metadata?: Partial<StorageClass['metadata']>;
};

/** Class `fast` of driver loam.dev: Delete, WaitForFirstConsumer. */
export function aStorageClass({ metadata = {}, ...rest }: ClassParts = {}): StorageClass {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'fast', uid: 'class-1', resourceVersion: '3', ...metadata },
    provisioner: 'loam.dev',
    parameters: { backend: 'directory', limit: 'advisory' },
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'WaitForFirstConsumer',
    ...rest,
  };
}

type VolumeParts = {
  readonly metadata?: Partial<PersistentVolume['metadata']>;
  readonly spec?: Partial<PersistentVolume['spec']>;
  readonly status?: PersistentVolume['status'];
};

/** The PV that Loam makes for `aClaim()`, Bound. */
export function aPersistentVolume({
  metadata = {},
  spec = {},
  status = { phase: 'Bound' },
}: VolumeParts = {}): PersistentVolume {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: 'pvc-uid-1',
      uid: 'pv-uid-1',
      resourceVersion: '9',
      annotations: { 'pv.kubernetes.io/provisioned-by': 'loam.dev' },
      finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
      ...metadata,
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '1Gi' },
      claimRef: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        namespace: 'shop',
        name: 'data',
        uid: 'uid-1',
      },
      storageClassName: 'fast',
      volumeMode: 'Filesystem',
      persistentVolumeReclaimPolicy: 'Delete',
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: ['node-a'] }] },
          ],
        },
      },
      csi: {
        driver: 'loam.dev',
        volumeHandle: 'pvc-uid-1',
        volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1' },
      },
      ...spec,
    },
    status,
  };
}
