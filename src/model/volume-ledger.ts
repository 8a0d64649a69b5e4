import type { AccessMode } from './access-mode.ts';
import type { OnDelete } from './class-parameters.ts';
import type { CallContext } from './csi-driver.ts';
import type { BackendName, ClaimRef, FsType } from './volume.ts';

/** A volume on this node's disks whose PV was never seen to exist, also one that is being made, or that was half made and not undone. */
export interface UnacknowledgedVolume {
  readonly volumeId: string;
  /** the CSI name, which is the PV's name too */
  readonly name: string;
  readonly poolUuid: string;
  /** unset where the volume was made by somebody who told us no claim (csi-sanity, another provisioner) */
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  readonly createdAtMs: number;
}

/** A volume on this node's disks that a PV could stand for, as its record says; one that lies in the trash or an archive is none. */
export interface HeldVolume {
  readonly volumeId: string;
  /** the CSI name */
  readonly name: string;
  readonly poolName: string;
  readonly poolUuid: string;
  readonly backend: BackendName;
  readonly accessType: 'mount' | 'block';
  readonly fsType?: FsType;
  readonly sizeBytes: bigint;
  readonly limit: 'enforced' | 'advisory';
  /** whether all pods of the node may share it */
  readonly sharing: 'none' | 'node';
  /** being emptied */
  readonly isRecycling: boolean;
  readonly acknowledged: boolean;
  readonly used: boolean;
  /** the claim that it was made for, of the cluster with this uid */
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  readonly className?: string;
  readonly adopt: 'never' | 'by-name';
  /** what deleting it does; unset: not known */
  readonly onDelete?: OnDelete;
  /** where in its pool its data lay before it was adopted; unset: it was made here */
  readonly adoptedFrom?: string;
  readonly createdAtMs: number;
}

/** A disk that was a volume and that a person has given up while it was away. */
export interface ForgottenDisk {
  readonly volumeId: string;
  /** of its file system */
  readonly type: string;
  readonly uuid: string;
  /** where it was mounted, below the discovery folder of its pool */
  readonly entry: string;
}

/** A deleted volume whose data is kept in its pool's archive until a person has it removed. */
export interface ArchivedVolume {
  /** its folder's name: the volume's id, with the time after it where an older one has that name already */
  readonly archiveId: string;
  readonly volumeId: string;
  /** the CSI name that it had */
  readonly name: string;
  readonly poolName: string;
  readonly poolUuid: string;
  /** of its data, for people */
  readonly path: string;
  readonly sizeBytes: bigint;
  /** what it counts for in its pool */
  readonly takenBytes: bigint;
  /** the claim that it was made for */
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  readonly className?: string;
  readonly archivedAtMs: number;
}

/** What lies in the discovery folder of one pool, whose configuration wants volumes made of it. */
export interface Discovery {
  readonly poolName: string;
  readonly poolUuid: string;
  /** the class that these volumes are to be of, and the size that their PVs promise */
  readonly className: string;
  readonly sizeBytes: bigint;
  readonly entries: readonly DiscoveredEntry[];
}

export interface DiscoveredEntry {
  readonly path: string;
  /** when it, or anything in it, was last changed, or it was moved there */
  readonly changedAtMs: number;
  /** why it cannot become a volume, for people; unset: it can */
  readonly obstacle?: string;
}

/** How much there is in a pool and how much of it is not promised to anybody; what lies in the trash counts as promised. */
export interface PoolRoom {
  readonly name: string;
  readonly uuid: string;
  readonly sizeBytes: bigint;
  readonly unpromisedBytes: bigint;
}

/** A volume as a PV needs to be told of it. */
export interface AdoptedVolume extends HeldVolume {
  readonly accessModes: readonly AccessMode[];
  readonly volumeContext: Readonly<Record<string, string>>;
}

/**
 * What the provisioner asks of the records on disk beyond CSI: which volumes were begun and never got a PV.
 * Only such intents may ever be swept without being asked.
 */
export interface VolumeLedger {
  unacknowledged(): readonly UnacknowledgedVolume[];
  /** The PV exists: from now on the volume is never swept. Durable against kill -9. */
  acknowledge(volumeId: string): Promise<void>;
  /** Whether the volume was ever staged. True where that is not known: what may hold data is not destroyed lightly. */
  wasUsed(volumeId: string): boolean;
  /** Whether a volume, or a snapshot, of this id is on this node's disks; what lies in the trash is not. */
  holdsVolume(volumeId: string): boolean;
  holdsSnapshot(snapshotId: string): boolean;
  /** Every volume that could have a PV, of every pool that is open. */
  held(): readonly HeldVolume[];
  /** Those of them with this id: one for each pool that has it, where a disk was copied. Cheap, however many are held. */
  heldOf(volumeId: string): readonly HeldVolume[];
  /** Those of them that were made for a claim of this name, of whatever uid. As cheap. */
  heldFor(claim: { readonly namespace: string; readonly name: string }): readonly HeldVolume[];
  /**
   * From now on nobody can stage the volume anew, until the returned function is called. In memory only: whatever is decided under it
   * has to be decided again after a crash.
   */
  close(volumeId: string): () => void;
  /**
   * Destroys a volume's data as its record says, and makes it anew in place: empty, of the same id, size and shape. Nobody can stage
   * or publish it meanwhile. Resolves when it is empty and ready; `onRemoved` tells when the old bytes are gone.
   * Killed anywhere, a repeat ends in the same state; one that is done already, and was not used since, is left as it is.
   *
   * @param request onlyBegun: go on with what was begun, and begin nothing: whoever got the volume by now keeps what he wrote
   * @throws StorageError 'volume-not-found' | 'wrong-pool' | 'in-use' | 'busy' | 'still-removing' | 'pool-unavailable'
   */
  recycle(
    request: { readonly volumeId: string; readonly poolUuid?: string; readonly onlyBegun?: boolean },
    call: CallContext,
  ): Promise<void>;
  /**
   * Takes a volume that has no PV into this cluster: its record says so from now on, and it counts as acknowledged. Idempotent.
   *
   * @param owner the claim that it is for, where that is known
   * @throws StorageError 'volume-not-found' | 'busy' | 'pool-unavailable'
   */
  adopt(
    volumeId: string,
    owner: { readonly clusterUid?: string; readonly claim?: ClaimRef; readonly className?: string },
    call: CallContext,
  ): Promise<AdoptedVolume>;
  rooms(): Promise<readonly PoolRoom[]>;
  /** Calls back with the volume id when a deleted volume's last byte is gone. Returns how to stop listening. */
  onRemoved(listener: (volumeId: string) => void): () => void;
  /** Calls back when nothing of this volume is mounted or attached by kubelet any more. Returns how to stop listening. */
  onReleased(listener: (volumeId: string) => void): () => void;
  /** Calls back when what GetCapacity would answer may have changed by our own doing. Returns how to stop listening. */
  onSpaceChanged(listener: () => void): () => void;
  /** Pools that are configured and cannot be used now. */
  poolTroubles(): readonly PoolTrouble[];
}

/** A pool that this node ought to have. */
export interface PoolTrouble {
  readonly name: string;
  readonly path: string;
  /** what is wrong and what to do */
  readonly why: string;
}
