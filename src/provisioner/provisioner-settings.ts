export interface ProvisionerSettings {
  readonly driverName: string;
  readonly nodeName: string;
  /** this node in our topology key */
  readonly topologyValue: string;
  /** whether claims are taken before kube-controller-manager asks, where that makes no difference */
  readonly early: boolean;
  /** whether a new PV's phase is written too */
  readonly writePhase: boolean;
  /** whether Immediate claims that no node was chosen for are this node's */
  readonly immediateOnThisNode: boolean;
  /** watch the claims and PVs with this node's label only, which a controller has to keep */
  readonly scoped?: boolean;
  /** look after this node's VolumeSnapshotContents, as csi-snapshotter does; unset: somebody else does, or nobody */
  readonly snapshots?: boolean;
  /** grow this node's volumes and apply VolumeAttributesClasses to them, as external-resizer does; unset: as above */
  readonly expansion?: boolean;
  readonly modification?: boolean;
  /** share of a pool's size below which volumes that are only retained give way to new ones; unset: never */
  readonly retainedYieldBelow?: number;
  /** what volumes that are only retained may hold of this node, by namespace; unset or 0n: no cap */
  readonly retainedPerNamespaceBytes?: bigint;
  /** the driver has no EXPAND_VOLUME in its controller half, and grows volumes on kubelet's call */
  readonly kubeletExpands?: boolean;
  /** where capacity objects are published; unset: nowhere */
  readonly capacityNamespace?: string;
  /** where the controller notes what it let go while this node was not there; unset: nobody does */
  readonly tombstoneNamespace?: string;
  /** unset: read from the API */
  readonly clusterUid?: string;
  /** how long a claim of a class that adopts by name waits for other nodes' offers; 5 s */
  readonly offerWithinMs?: number;
  /** how often discovery folders are looked into; 10 s */
  readonly discoverEveryMs?: number;
  /** how long what lies there has to have been left alone; 10 s */
  readonly discoverSettledMs?: number;
  /** how often pools are looked for that PVs name and this node has not; 30 s */
  readonly missingPoolsEveryMs?: number;
  readonly workers: number;
  /** deadline of one driver call */
  readonly timeoutMs: number;
}
