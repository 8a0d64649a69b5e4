import type { CallContext, VolumeCondition } from './csi-driver.ts';
import type { Segments } from './topology.ts';
import type { VolumeCapability } from './volume.ts';

/** What kubelet says of the pod in a publish's context (CSIDriver podInfoOnMount). It writes over what the pod's author put there. */
export const podInfoKeys = {
  ephemeral: 'csi.storage.k8s.io/ephemeral',
  name: 'csi.storage.k8s.io/pod.name',
  namespace: 'csi.storage.k8s.io/pod.namespace',
  uid: 'csi.storage.k8s.io/pod.uid',
} as const;

/** Whether this publish is of a volume that the pod itself describes: made for it, and gone with it. */
export function isInlinePublish({ volumeContext }: Pick<StageRequest, 'volumeContext'>): boolean {
  return volumeContext[podInfoKeys.ephemeral] === 'true';
}

export interface StageRequest {
  readonly volumeId: string;
  readonly stagingTargetPath: string;
  readonly capability: VolumeCapability;
  readonly volumeContext: Readonly<Record<string, string>>;
}

/** CSI NodeExpandVolume: what is mounted or attached takes its volume's whole size. */
export interface NodeExpandRequest {
  readonly volumeId: string;
  /** where it is published, or staged */
  readonly volumePath: string;
  /** 0n = whatever the volume has */
  readonly requiredBytes: bigint;
}

/** The staging path is empty where the pod itself describes the volume: kubelet stages none of those. */
export interface PublishRequest extends StageRequest {
  readonly targetPath: string;
  readonly readonly: boolean;
}

export interface UsageEntry {
  readonly unit: 'BYTES' | 'INODES';
  readonly available: bigint;
  readonly total: bigint;
  readonly used: bigint;
}

export interface NodeInfo {
  readonly nodeId: string;
  /** 0 = unlimited */
  readonly maxVolumesPerNode: number;
  readonly accessibleTopology: Segments;
}

/**
 * The Node half of the driver (CSI Node service, without the wire). Every verb can be repeated; `un` verbs
 * succeed on what is not there, since kubelet calls them after a reboot for things that are long gone.
 */
export interface NodeDriver {
  nodeInfo(): NodeInfo;
  /** @throws StorageError 'volume-not-found' | 'wrong-pool' | 'published-differently' | 'bad-target' | 'pool-unavailable' */
  stage(request: StageRequest, call: CallContext): Promise<void>;
  unstage(
    request: { readonly volumeId: string; readonly stagingTargetPath: string },
    call: CallContext,
  ): Promise<void>;
  /** @throws StorageError as stage, and 'not-staged' | 'in-use' (single writer); an inline volume's also as CreateVolume */
  publish(request: PublishRequest, call: CallContext): Promise<void>;
  /** Removes the target path too, and an inline volume with it. */
  unpublish(
    request: { readonly volumeId: string; readonly targetPath: string },
    call: CallContext,
  ): Promise<void>;
  /** @returns the volume's size. @throws StorageError 'volume-not-found' | 'path-not-found' | 'size-out-of-range' | 'cannot-grow-now' */
  expand(request: NodeExpandRequest, call: CallContext): Promise<bigint>;
  /** @throws StorageError 'volume-not-found' | 'path-not-found' */
  stats(
    request: { readonly volumeId: string; readonly volumePath: string },
    call: CallContext,
  ): Promise<{ readonly usage: readonly UsageEntry[]; readonly condition: VolumeCondition }>;
}
