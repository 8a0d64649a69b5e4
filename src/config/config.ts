/** One pool of this node, as configured. */
export interface PoolConfig {
  readonly name: string;
  /** an absolute path on the host */
  readonly path: string;
  /** thin volumes may promise this many times the pool's size; 1 = never more than there is */
  readonly overcommitRatio: number;
  /** share of the pool's file system that is never given out, 0..1 */
  readonly reservedShare: number;
  /** whether the loop may create a marker on first use of an empty folder */
  readonly initialise: boolean;
}

/** Everything that can be configured, in one frozen object; `flags.ts` holds the table that fills it. */
export interface Config {
  readonly driverName: string;
  readonly nodeName: string;
  /** Kubernetes' name and our topology value are equal where that is a label value */
  readonly pools: readonly PoolConfig[];
  readonly csiSocketPath: string;
  /** unset: no kubelet on this machine */
  readonly registrationSocketPath?: string;
  /** path of the CSI socket as kubelet sees it */
  readonly kubeletCsiSocketPath: string;
  /** live publications; dies with the boot */
  readonly runDir: string;
  /** what the node remembers outside its pools */
  readonly stateDir: string;
  /** claims taken ahead of kube-controller-manager's annotation */
  readonly early: boolean;
  readonly writePhase: boolean;
  readonly immediateOnThisNode: boolean;
  readonly maxVolumesPerNode: number;
  readonly scrubBytesPerSecond: bigint;
  readonly removeFilesPerSecond: number;
  /** unset: no observation server */
  readonly observeAddress?: string;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
  readonly kubeconfigPath?: string;
}
