import type * as objects from './objects.ts';

/** Every kind that Loam speaks of, by name: its type here, its place in the API below. */
export interface Kinds {
  PersistentVolumeClaim: objects.PersistentVolumeClaim;
  PersistentVolume: objects.PersistentVolume;
  StorageClass: objects.StorageClass;
  Node: objects.Node;
  Namespace: objects.Namespace;
  Event: objects.KubeEvent;
  CSIStorageCapacity: objects.CsiStorageCapacity;
  Pod: objects.Pod;
  ConfigMap: objects.ConfigMap;
  CSINode: objects.CsiNode;
  Lease: objects.Lease;
  VolumeAttributesClass: objects.VolumeAttributesClass;
  VolumeSnapshot: objects.VolumeSnapshot;
  VolumeSnapshotContent: objects.VolumeSnapshotContent;
  VolumeSnapshotClass: objects.VolumeSnapshotClass;
}
export type KindName = keyof Kinds;

export interface KindInfo {
  /** '' = the core group */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

/** Of custom resources that the cluster may not have (external-snapshotter). */
export const snapshotGroup = 'snapshot.storage.k8s.io';

export const kinds: { readonly [K in KindName]: KindInfo } = {
  PersistentVolumeClaim: { group: '', version: 'v1', plural: 'persistentvolumeclaims', namespaced: true },
  PersistentVolume: { group: '', version: 'v1', plural: 'persistentvolumes', namespaced: false },
  StorageClass: { group: 'storage.k8s.io', version: 'v1', plural: 'storageclasses', namespaced: false },
  Node: { group: '', version: 'v1', plural: 'nodes', namespaced: false },
  Namespace: { group: '', version: 'v1', plural: 'namespaces', namespaced: false },
  Event: { group: '', version: 'v1', plural: 'events', namespaced: true },
  CSIStorageCapacity: {
    group: 'storage.k8s.io',
    version: 'v1',
    plural: 'csistoragecapacities',
    namespaced: true,
  },
  Pod: { group: '', version: 'v1', plural: 'pods', namespaced: true },
  ConfigMap: { group: '', version: 'v1', plural: 'configmaps', namespaced: true },
  CSINode: { group: 'storage.k8s.io', version: 'v1', plural: 'csinodes', namespaced: false },
  Lease: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', namespaced: true },
  VolumeAttributesClass: {
    group: 'storage.k8s.io',
    version: 'v1',
    plural: 'volumeattributesclasses',
    namespaced: false,
  },
  VolumeSnapshot: { group: snapshotGroup, version: 'v1', plural: 'volumesnapshots', namespaced: true },
  VolumeSnapshotContent: {
    group: snapshotGroup,
    version: 'v1',
    plural: 'volumesnapshotcontents',
    namespaced: false,
  },
  VolumeSnapshotClass: {
    group: snapshotGroup,
    version: 'v1',
    plural: 'volumesnapshotclasses',
    namespaced: false,
  },
};

/** `v1`, `storage.k8s.io/v1` */
export function apiVersionOf(kind: KindName): string {
  const { group, version } = kinds[kind];
  return group === '' ? version : `${group}/${version}`;
}
