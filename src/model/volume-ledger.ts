import type { ClaimRef } from './volume.ts';

/** A volume on this node's disks whose PV was never seen to exist. */
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
