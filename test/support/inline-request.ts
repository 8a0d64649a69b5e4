import { join } from 'node:path';
import { podInfoKeys, type PublishRequest } from '../../src/model/node-driver.ts';

export const inlineId = `csi-${'5'.repeat(64)}`;
export const podUid = '0f0a6a3e-1111-4222-8333-444455556666';

/** Where a kubelet with this folder keeps the pod. */
export function podFolder(kubeletPath: string, uid = podUid): string {
  return join(kubeletPath, 'pods', uid);
}

export function inlineTarget(kubeletPath: string, uid = podUid): string {
  return join(podFolder(kubeletPath, uid), 'volumes/kubernetes.io~csi/scratch/mount');
}

/** As kubelet sends it for a volume that the pod describes: no staging path, the pod and its attributes in the context. */
export function inlineRequest(
  kubeletPath: string,
  attributes: Readonly<Record<string, string>> = { size: '16Mi' },
  changes: Partial<PublishRequest> = {},
): PublishRequest {
  const pod = {
    [podInfoKeys.ephemeral]: 'true',
    [podInfoKeys.name]: 'web-0',
    [podInfoKeys.namespace]: 'team',
    [podInfoKeys.uid]: podUid,
    'csi.storage.k8s.io/serviceAccount.name': 'default',
    'csi.storage.k8s.io/serviceAccount.tokens': 'secret',
  };
  return {
    volumeId: inlineId,
    stagingTargetPath: '',
    targetPath: inlineTarget(kubeletPath),
    capability: {
      accessMode: 'SINGLE_NODE_MULTI_WRITER',
      access: { kind: 'mount', fsType: '', mountFlags: [] },
    },
    volumeContext: { ...attributes, ...pod },
    readonly: false,
    ...changes,
  };
}
