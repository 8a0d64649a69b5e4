import type {
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
} from '../../../src/kube/objects.ts';

export function aClass(name: string, over: Partial<StorageClass> = {}): StorageClass {
  return { metadata: { name }, provisioner: 'loam.dev', ...over };
}

export function aClaim(
  name: string,
  spec: Partial<PersistentVolumeClaim['spec']> = {},
  metadata: Partial<PersistentVolumeClaim['metadata']> = {},
): PersistentVolumeClaim {
  return {
    metadata: { name, namespace: 'default', ...metadata },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'local',
      resources: { requests: { storage: '1Gi' } },
      ...spec,
    },
  };
}

export function aVolume(
  name: string,
  spec: Partial<PersistentVolume['spec']> = {},
  metadata: Partial<PersistentVolume['metadata']> = {},
): PersistentVolume {
  return {
    metadata: { name, ...metadata },
    spec: {
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '1Gi' },
      storageClassName: 'local',
      csi: { driver: 'loam.dev', volumeHandle: name },
      ...spec,
    },
  };
}

export function aPod(
  name: string,
  claimName: string,
  over: { nodeName?: string; readOnly?: boolean } = {},
): Pod {
  const persistentVolumeClaim = {
    claimName,
    ...(over.readOnly === undefined ? {} : { readOnly: over.readOnly }),
  };
  return {
    metadata: { name, namespace: 'default' },
    spec: {
      ...(over.nodeName === undefined ? {} : { nodeName: over.nodeName }),
      volumes: [{ name: 'data', persistentVolumeClaim }],
    },
  };
}
