import type { CapacityRange, Consistency, ContentSource, VolumeCapability } from './volume.ts';
import type { Segments, TopologyRequirement } from './topology.ts';

/** Passed with every slow call. The signal aborts on the caller's deadline, its cancellation, or shutdown. */
export interface CallContext {
  readonly signal: AbortSignal;
  /** milliseconds since the epoch by which the caller stops listening; unset: no deadline */
  readonly deadlineMs?: number;
}

/** Capabilities by the wire's names (CSI ControllerServiceCapability.RPC.Type). */
export type ControllerCapability =
  | 'CREATE_DELETE_VOLUME'
  | 'LIST_VOLUMES'
  | 'GET_CAPACITY'
  | 'CREATE_DELETE_SNAPSHOT'
  | 'LIST_SNAPSHOTS'
  | 'GET_SNAPSHOT'
  | 'CLONE_VOLUME'
  | 'EXPAND_VOLUME'
  | 'VOLUME_CONDITION'
  | 'GET_VOLUME'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'MODIFY_VOLUME';

export interface CreateVolumeRequest {
  readonly name: string;
  readonly capacityRange: CapacityRange;
  readonly capabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly accessibility?: TopologyRequirement;
  /** unset: an empty volume */
  readonly contentSource?: ContentSource;
  /** of a VolumeAttributesClass */
  readonly mutableParameters?: Readonly<Record<string, string>>;
}

/** CSI Volume. */
export interface DriverVolume {
  readonly volumeId: string;
  /** 0n = not told */
  readonly capacityBytes: bigint;
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly accessibleTopology: readonly Segments[];
  /** the request's, where its data is in the volume */
  readonly contentSource?: ContentSource;
}

export interface VolumeCondition {
  readonly abnormal: boolean;
  readonly message: string;
}

export interface ListedVolume {
  readonly volume: DriverVolume;
  readonly condition: VolumeCondition;
}

export interface DeleteVolumeRequest {
  readonly volumeId: string;
  /** the PV's volume attributes, where the caller has them: our own driver compares the pool's uuid before it destroys */
  readonly volumeContext?: Readonly<Record<string, string>>;
}

export interface ExpandVolumeRequest {
  readonly volumeId: string;
  readonly capacityRange: CapacityRange;
  readonly capability?: VolumeCapability;
}

export interface ExpandedVolume {
  /** never less than asked, and exactly it wherever it is whole blocks */
  readonly capacityBytes: bigint;
  /** whether the size is seen in the pod only after NodeExpandVolume, or the next stage */
  readonly nodeExpansionRequired: boolean;
}

export interface ModifyVolumeRequest {
  readonly volumeId: string;
  /** of a VolumeAttributesClass */
  readonly mutableParameters: Readonly<Record<string, string>>;
}

export interface CreateSnapshotRequest {
  /** idempotent by it */
  readonly name: string;
  readonly sourceVolumeId: string;
  /** of a VolumeSnapshotClass */
  readonly parameters: Readonly<Record<string, string>>;
}

/** CSI Snapshot. */
export interface DriverSnapshot {
  readonly snapshotId: string;
  readonly sourceVolumeId: string;
  /** the least size of a volume that is made of it; 0n = not told */
  readonly sizeBytes: bigint;
  readonly createdAtMs: number;
  /** false: it is still being copied; the same call asks again */
  readonly isReady: boolean;
  /** not on the wire, so only a driver in this process can say it */
  readonly consistency?: Consistency;
}

export interface ListSnapshotsRequest {
  /** 0: all that there are */
  readonly maxEntries: number;
  readonly startingToken: string;
  /** unset: any */
  readonly snapshotId?: string;
  readonly sourceVolumeId?: string;
}

export interface SnapshotPage {
  readonly entries: readonly DriverSnapshot[];
  readonly nextToken: string;
}

export interface GetCapacityRequest {
  /** empty: any use */
  readonly capabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  /** unset: everywhere */
  readonly accessibleTopology?: Segments;
}

export interface Capacity {
  readonly availableBytes: bigint;
  readonly maximumVolumeBytes?: bigint;
  readonly minimumVolumeBytes?: bigint;
  /** why nothing fits, for people; not on the wire, so only a driver in this process can say it */
  readonly reason?: string;
}

/**
 * The Identity and Controller half of a CSI driver, as the provisioner's loops see it.
 *
 * Two adapters: `VolumeService` in this process, and the gRPC client over a socket, so that the same loops
 * drive any CSI driver. Errors are `CsiError`s; anything else thrown means that the outcome is unknown.
 */
export interface CsiDriver {
  getPluginInfo(call: CallContext): Promise<{ readonly name: string; readonly vendorVersion: string }>;
  getControllerCapabilities(call: CallContext): Promise<ReadonlySet<ControllerCapability>>;
  /** Idempotent by name. @throws CsiError ALREADY_EXISTS for the same name with another shape */
  createVolume(request: CreateVolumeRequest, call: CallContext): Promise<DriverVolume>;
  /** Resolves once no byte is left. An unknown id is success. @throws CsiError FAILED_PRECONDITION while in use */
  deleteVolume(request: DeleteVolumeRequest, call: CallContext): Promise<void>;
  getCapacity(request: GetCapacityRequest, call: CallContext): Promise<Capacity>;
  /** Never makes a volume smaller: one that is large enough is the answer. @throws CsiError OUT_OF_RANGE where the pool has not so much */
  expandVolume(request: ExpandVolumeRequest, call: CallContext): Promise<ExpandedVolume>;
  /** Idempotent. @throws CsiError INVALID_ARGUMENT for what cannot take effect on this volume, by name */
  modifyVolume(request: ModifyVolumeRequest, call: CallContext): Promise<void>;
  /** Idempotent by name, and asked again until it is ready. @throws CsiError ALREADY_EXISTS for the same name of another volume */
  createSnapshot(request: CreateSnapshotRequest, call: CallContext): Promise<DriverSnapshot>;
  /** An unknown id is success, as with volumes. */
  deleteSnapshot(snapshotId: string, call: CallContext): Promise<void>;
  /** Unknown ids in the filters: an empty page. @throws CsiError ABORTED for a token that is not ours */
  listSnapshots(request: ListSnapshotsRequest, call: CallContext): Promise<SnapshotPage>;
}

/** What the Controller service serves beyond what the loops need. */
export interface ControllerDriver extends CsiDriver {
  validateVolumeCapabilities(
    request: {
      readonly volumeId: string;
      readonly capabilities: readonly VolumeCapability[];
      readonly volumeContext: Readonly<Record<string, string>>;
      readonly parameters: Readonly<Record<string, string>>;
    },
    call: CallContext,
  ): Promise<{ readonly confirmed: boolean; readonly message: string }>;
  /** In id order, from after the token. @throws StorageError 'bad-token' */
  listVolumes(
    request: { readonly maxEntries: number; readonly startingToken: string },
    call: CallContext,
  ): Promise<{ readonly entries: readonly ListedVolume[]; readonly nextToken: string }>;
  /** @throws StorageError 'volume-not-found' */
  getVolume(volumeId: string, call: CallContext): Promise<ListedVolume>;
  /** @throws StorageError 'snapshot-not-found' */
  getSnapshot(snapshotId: string, call: CallContext): Promise<DriverSnapshot>;
  /** Whether recovery is over and at least one pool serves. */
  isReady(): boolean;
}
