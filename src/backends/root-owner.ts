import type { RootOwner } from '../host/volume-root.ts';
import type { VolumeSpec } from '../model/volume.ts';

/**
 * Root only, until kubelet gives the tree to the pod's fsGroup. Pods that run as another user without an fsGroup
 * need `mode`, `uid` or `gid` in the class.
 */
export const defaultRootMode = 0o770;

export function rootOwnerOf(spec: VolumeSpec): RootOwner {
  return { mode: spec.mode ?? defaultRootMode, uid: spec.uid ?? 0, gid: spec.gid ?? 0 };
}
