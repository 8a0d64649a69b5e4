import type { AccessMode } from './access-mode.ts';
import type { VolumeId } from './volume-id.ts';

export type FsType = 'ext4' | 'xfs' | 'btrfs';
/** Every kind of volume that can be made, in the order in which messages name them. */
export const madeBackends = ['directory', 'loopback', 'btrfs'] as const;
/** And those that are only ever found: a disk that somebody has mounted in a discovery folder. */
export const backendNames = [...madeBackends, 'disk'] as const;
export type BackendName = (typeof backendNames)[number];

/** How a workload means to use a volume (CSI VolumeCapability). */
export interface VolumeCapability {
  readonly accessMode: AccessMode;
  readonly access: MountAccess | BlockAccess;
}
export interface MountAccess {
  readonly kind: 'mount';
  /** '' = the driver's choice */
  readonly fsType: string;
  readonly mountFlags: readonly string[];
  /** gid that kubelet wants the tree to belong to; unset: kubelet does it itself */
  readonly volumeMountGroup?: string;
}
export interface BlockAccess {
  readonly kind: 'block';
}

export interface CapacityRange {
  /** 0n = no lower bound */
  readonly requiredBytes: bigint;
  /** 0n = no upper bound */
  readonly limitBytes: bigint;
}

/** What is known of the claim behind a volume; all of it optional, since CSI itself knows no claims. */
export interface ClaimRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** The decided shape of a volume: what a backend has to make, and what the record keeps. */
export interface VolumeSpec {
  readonly id: VolumeId;
  readonly backend: BackendName;
  readonly accessType: 'mount' | 'block';
  /** exact size in bytes; an image has this size, a quota this limit */
  readonly sizeBytes: bigint;
  /** the file system on an image; unset for directories and raw block */
  readonly fsType?: FsType;
  readonly provisioning: 'thin' | 'thick';
  readonly limit: 'enforced' | 'advisory';
  /** permission bits of the volume's root, such as 0o2770; unset: the backend's default */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** set for backend `disk`, and only then */
  readonly disk?: DiskPlace;
}

/** Which disk a volume of backend `disk` is, and where it is to be mounted. */
export interface DiskPlace {
  /** name of its mount point in the discovery folder of the pool */
  readonly entry: string;
  /** of its file system, as mountinfo says it */
  readonly type: string;
  readonly uuid: string;
}

/** Where a new volume's first data comes from (CSI VolumeContentSource). */
export type ContentSource =
  | { readonly kind: 'snapshot'; readonly snapshotId: string }
  | { readonly kind: 'volume'; readonly volumeId: string };

/**
 * How sure it is that a copy is what the source held at one moment.
 * `quiet`: nobody could write; `frozen`: the file system was frozen meanwhile; `atomic`: the file system's own snapshot;
 * `loose`: files were copied one after another while they may have been written to.
 */
export const consistencies = ['quiet', 'frozen', 'atomic', 'loose'] as const;
export type Consistency = (typeof consistencies)[number];

/** Key of the pool's uuid in a PV's volume attributes; stage and delete compare it. */
export const poolUuidKey = 'loam.dev/pool-uuid';
/** Keys beside it that tell people what they got. */
export const backendKey = 'loam.dev/backend';
export const limitKey = 'loam.dev/limit';
