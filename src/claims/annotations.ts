/** Annotations, finalizers and labels of the provisioning protocol, as Kubernetes and its sidecars spell them. */

/** On claims: the node that has to provide the volume (scheduler or placement). */
export const selectedNode = 'volume.kubernetes.io/selected-node';
/** On claims: kube-controller-manager's call to a provisioner, and its older spelling. */
export const storageProvisioner = 'volume.kubernetes.io/storage-provisioner';
export const betaStorageProvisioner = 'volume.beta.kubernetes.io/storage-provisioner';
/** On claims and volumes: wins over `spec.storageClassName`. */
export const betaStorageClass = 'volume.beta.kubernetes.io/storage-class';
export const bindCompleted = 'pv.kubernetes.io/bind-completed';
export const migratedTo = 'pv.kubernetes.io/migrated-to';

/** On claims: who grows them, where that is not their PV's driver. */
export const storageResizer = 'volume.kubernetes.io/storage-resizer';
/** On claims: their growth was done without kubelet, which need not look. */
export const nodeExpansionNotRequired = 'volume.kubernetes.io/node-expansion-not-required';

/** On volumes: their claimRef was written by kube-controller-manager or the scheduler, not by whoever made them. */
export const boundByController = 'pv.kubernetes.io/bound-by-controller';
/** On volumes. */
export const provisionedBy = 'pv.kubernetes.io/provisioned-by';
/** Present and empty says "no secret"; absent would make other provisioners read the class again at deletion. */
export const deletionSecretName = 'volume.kubernetes.io/provisioner-deletion-secret-name';
export const deletionSecretNamespace = 'volume.kubernetes.io/provisioner-deletion-secret-namespace';
/** What the claim had before a growth that kubelet has to finish. */
export const preResizeCapacity = 'volume.alpha.kubernetes.io/pre-resize-capacity';
export const provisionerFinalizer = 'external-provisioner.volume.kubernetes.io/finalizer';
/** The claim's uid, while the volume of a claim that is gone is being destroyed: publish and undelete refuse meanwhile. */
export const reclaiming = 'loam.dev/reclaiming';
/** What the class said of the volume's end; from then on these count, and a person may change them. */
export const retainFor = 'loam.dev/retain-for';
export const onRelease = 'loam.dev/on-release';
export const onNodeLoss = 'loam.dev/on-node-loss';
/** Until when a released volume is left as it is, as RFC 3339. A person may move it. */
export const retainedUntil = 'loam.dev/retained-until';
/** When the volume was last emptied for its next claim, as RFC 3339. */
export const recycled = 'loam.dev/recycled';
/** A PV for a volume that was there before: `by-name`, `by-hand` or `discovered`. */
export const adopted = 'loam.dev/adopted';
/** The node has not the disk that the PV means: since when, as RFC 3339. */
export const poolMissing = 'loam.dev/pool-missing';
/** The node that the PV is on is not to be seen: since when, as RFC 3339. The node's own process takes it off, for it is there. */
export const nodeLostSince = 'loam.dev/node-lost-since';
/** On ConfigMaps: the topology value of the node that has to see to what was let go without it. */
export const tombstone = 'loam.dev/tombstone';
/** The node's topology value: an index for watches, never a decision. */
export const nodeLabel = 'loam.dev/node';

/** On VolumeSnapshotContents: a restore may have another volume mode than the snapshot's source. */
export const allowModeChange = 'snapshot.storage.kubernetes.io/allow-volume-mode-change';
/** Finalizers on what a volume is being made of, for as long as that lasts. */
export const restoringFinalizer = 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection';
export const cloningFinalizer = 'provisioner.storage.kubernetes.io/cloning-protection';

/** On capacity objects where nothing fits: why, for people. */
export const capacityReason = 'loam.dev/reason';
/** Labels of capacity objects: the driver that they speak of, and who looks after them. */
export const capacityDriver = 'csi.storage.k8s.io/drivername';
export const capacityManager = 'csi.storage.k8s.io/managed-by';
export const ourManager = 'loam';

/** Volume attribute that tells which provisioner process made a volume. */
export const provisionerIdentity = 'storage.kubernetes.io/csiProvisionerIdentity';

/** The namespace whose uid stands for the cluster's identity. */
export const systemNamespace = 'kube-system';
