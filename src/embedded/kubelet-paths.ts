import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { PersistentVolume } from '../kube/objects.ts';

/** Where kubelet stages and publishes one PV for one pod, below its root directory. */
export interface VolumePaths {
  readonly stagingPath: string;
  readonly targetPath: string;
  /** made by kubelet; the target itself by the driver */
  readonly targetParentPath: string;
}

export function volumePaths(
  rootPath: string,
  driverName: string,
  volume: PersistentVolume,
  podUid: string,
): VolumePaths {
  const { name } = volume.metadata;
  const plugins = join(rootPath, 'plugins/kubernetes.io/csi');
  if (volume.spec.volumeMode === 'Block') {
    const targetPath = join(plugins, 'volumeDevices/publish', name, podUid);
    return {
      stagingPath: join(plugins, 'volumeDevices/staging', name),
      targetPath,
      targetParentPath: dirname(targetPath),
    };
  }
  const handleHash = createHash('sha256')
    .update(volume.spec.csi?.volumeHandle ?? '')
    .digest('hex');
  const targetPath = join(rootPath, 'pods', podUid, 'volumes/kubernetes.io~csi', name, 'mount');
  return {
    stagingPath: join(plugins, driverName, handleHash, 'globalmount'),
    targetPath,
    targetParentPath: dirname(targetPath),
  };
}
