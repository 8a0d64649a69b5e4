/** The words of the snapshot protocol that external-snapshotter's controller and its sidecar speak through VolumeSnapshotContents. */

/** On contents: the driver may be at work on a snapshot whose handle is not known yet; such a content must not go. */
export const beingCreated = 'snapshot.storage.kubernetes.io/volumesnapshot-being-created';
/** On contents: the VolumeSnapshot is going, and its controller wants the content to follow. */
export const beingDeleted = 'snapshot.storage.kubernetes.io/volumesnapshot-being-deleted';
/** On contents: one snapshot of a group, which others look after. */
export const groupMember = 'groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle';
/** Keeps a content until its snapshot is gone from the disk, or is meant to stay there. */
export const contentFinalizer = 'snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection';

/** On contents, for people: how sure it is that the snapshot is what its source held at one moment. */
export const consistencyNote = 'loam.dev/consistency';

/** Class parameters that begin so are for those who pass the rest on to the driver. */
export const reservedPrefix = 'csi.storage.k8s.io/';
/** What the driver may be told about a snapshot beside its class's parameters. */
export const snapshotMetadata = {
  name: `${reservedPrefix}volumesnapshot/name`,
  namespace: `${reservedPrefix}volumesnapshot/namespace`,
  content: `${reservedPrefix}volumesnapshotcontent/name`,
} as const;
