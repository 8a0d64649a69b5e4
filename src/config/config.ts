/** One pool of this node, as configured. */
export interface PoolConfig {
  /** a DNS label; classes name it in `pool` */
  readonly name: string;
  /** an absolute path on the host */
  readonly path: string;
  /** thin volumes may promise this many times the pool's size; 1 = never more than there is */
  readonly overcommitRatio: number;
  /** share of the pool's file system that is never given out, 0 to below 1 */
  readonly reservedShare: number;
  /** whether an empty folder that was never a pool becomes one */
  readonly initialise: boolean;
  /** the folder is used only where a file system of its own is mounted; unset: anywhere */
  readonly mustBeMounted?: boolean;
  /** whether whoever runs pods on it may set out to get around a size limit; unset: untrusted */
  readonly tenants?: 'trusted' | 'untrusted';
  /** folders put into `discovery/` become volumes of this class by themselves; unset: nothing does */
  readonly discover?: { readonly className: string; readonly sizeBytes: bigint };
}

/** Everything that can be configured, in one frozen object; `settings.ts` holds the table that fills it. */
export interface Config {
  readonly driverName: string;
  readonly nodeName: string;
  readonly pools: readonly PoolConfig[];
  readonly csiSocketPath: string;
  /** unset: no kubelet on this machine */
  readonly registrationSocketPath?: string;
  /** the CSI socket's path as kubelet sees it */
  readonly kubeletCsiSocketPath: string;
  /** arguments of live publications; dies with the boot */
  readonly runDir: string;
  /** what the node remembers outside its pools: their uuids */
  readonly stateDir: string;
  /** unset: no API server, CSI only */
  readonly kube?: { readonly kubeconfigPath?: string };
  /** claims taken ahead of kube-controller-manager's annotation */
  readonly early: boolean;
  /** the PV's phase written by us, so that the binder has one write less to do */
  readonly writePhase: boolean;
  /** Immediate claims without a node are taken by this node */
  readonly immediateOnThisNode: boolean;
  /** nodes watch by the label `loam.dev/node` only, and the controller keeps it */
  readonly scoped: boolean;
  /** 0 = unlimited */
  readonly maxVolumesPerNode: number;
  /** the largest volume that a pod may describe by itself (CSI inline ephemeral); 0 = none */
  readonly inlineMaxBytes: bigint;
  /** what the trash may do to the disk */
  readonly scrubBytesPerSecond: bigint;
  readonly removeFilesPerSecond: number;
  /** share of a pool's size below which volumes that are only retained give way; 0 = never */
  readonly retainedYieldBelow: number;
  /** what retained volumes may hold of this node, by namespace; 0 = no cap */
  readonly retainedPerNamespaceBytes: bigint;
  /** how the loop reaches the volumes: in this process, or through the CSI socket as upstream's sidecars do */
  readonly loopThrough: 'process' | 'socket';
  /** whether this node's room is published for the scheduler */
  readonly capacity: boolean;
  /** whether this node's VolumeSnapshotContents are looked after */
  readonly snapshots: boolean;
  /** volumes are grown when their claims ask for more */
  readonly expansion: boolean;
  /** VolumeAttributesClasses are applied to volumes */
  readonly modification: boolean;
  /** where our Lease and our capacity objects lie */
  readonly namespace: string;
  /** the controller works only while it holds the Lease; false: it is known to be the only one */
  readonly leaderElect: boolean;
  /** how long a node may be not ready, or without our driver, before claims that wait for it are freed */
  readonly unreachableAfterMs: number;
  /**
   * How far the controller may go for volumes of nodes that are lost, where their class or PV asks for it: `release` ends PVs whose
   * claims are gone, `recreate` makes claims anew, for which it deletes pods and claims. Its account has to have the rights.
   */
  readonly nodeLoss: 'off' | 'release' | 'recreate';
  /** `host:port`; unset: no observation server */
  readonly observeAddress?: string;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
}
