import type { PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '../../kube/objects.ts';
import { namespace } from './world.ts';

export function storageClass(name: string, provisioner: string, over: Partial<StorageClass>): StorageClass {
  return { metadata: { name }, provisioner, reclaimPolicy: 'Delete', ...over };
}

export function claim(
  name: string,
  storageClassName: string,
  size: string,
  over: Partial<PersistentVolumeClaim['spec']> = {},
): PersistentVolumeClaim {
  return {
    metadata: { name, namespace },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName,
      resources: { requests: { storage: size } },
      ...over,
    },
  };
}

/** A pod that mounts one claim; its container is only there because a pod needs one. */
export function pod(name: string, claimName: string, readOnly = false): Pod {
  const containers = [
    { name: 'main', image: 'busybox', volumeMounts: [{ name: 'data', mountPath: '/data' }] },
  ];
  const volumes = [{ name: 'data', persistentVolumeClaim: { claimName, readOnly } }];
  return { metadata: { name, namespace }, spec: Object.assign({ volumes }, { containers }) };
}

/** A PV that an administrator writes over a volume which is there. */
export function staticVolume(name: string, like: PersistentVolume): PersistentVolume {
  const { capacity = {}, accessModes = [], csi, nodeAffinity } = like.spec;
  return {
    metadata: { name },
    spec: {
      capacity,
      accessModes,
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName: '',
      ...(csi === undefined ? {} : { csi }),
      ...(nodeAffinity === undefined ? {} : { nodeAffinity }),
    },
  };
}
