import type { PersistentVolume } from '../../kube/objects.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import { claimKey, volumeNameFor } from '../../claims/claim-facts.ts';
import { mayBeSamePool, poolUuidOf } from '../../claims/volume-facts.ts';
import { graceMs } from '../intents.ts';

export type OrphanDecision =
  /** a PV stands for the data, whichever claim it names */
  | { readonly kind: 'owned'; readonly volume: PersistentVolume; readonly reason: string }
  /** begun, and not ended yet: whoever began it, or the sweep, goes on with it */
  | { readonly kind: 'begun'; readonly isSwept: boolean; readonly reason: string }
  /** nobody in this cluster's API knows of it any more; never removed unasked */
  | { readonly kind: 'orphan'; readonly isForeign: boolean; readonly reason: string };

/** What has to be known besides the record and the PVs. */
export interface OrphanSide {
  readonly driverName: string;
  /** unset where it could not be read */
  readonly clusterUid?: string | undefined;
  readonly nowMs: number;
}

/**
 * Whether a volume on this node's disks belongs to anybody, by every PV with its handle that there is. Only what PVs say of driver, handle
 * and pool counts: the claim in the record proves nothing, since backup tools and populators point claimRef elsewhere.
 *
 * @param sameHandle PVs with this handle, of any driver
 */
export function decideOrphan(
  record: HeldVolume,
  sameHandle: readonly PersistentVolume[],
  side: OrphanSide,
): OrphanDecision {
  const owner = sameHandle.find((volume) => mayStandFor(volume, record, side.driverName));
  if (owner !== undefined) {
    const ref = owner.spec.claimRef ?? undefined;
    const whose = ref === undefined ? 'for any claim' : `for claim ${claimKey(ref)}`;
    return {
      kind: 'owned',
      volume: owner,
      reason: `PersistentVolume ${owner.metadata.name} stands for it, ${whose}`,
    };
  }
  const { claim, clusterUid, acknowledged } = record;
  const whose = claim === undefined ? 'for no claim that we were told of' : `for claim ${claimKey(claim)}`;
  if (clusterUid !== undefined && side.clusterUid !== undefined && clusterUid !== side.clusterUid) {
    return {
      kind: 'orphan',
      isForeign: true,
      reason: `made ${whose} in another cluster (${clusterUid}); no PersistentVolume here stands for it`,
    };
  }
  if (!acknowledged) {
    const isOurs = claim !== undefined && record.name === volumeNameFor(claim.uid);
    if (isOurs && clusterUid !== undefined && side.clusterUid !== undefined)
      return {
        kind: 'begun',
        isSwept: true,
        reason: `begun ${whose}; no PersistentVolume of it was seen yet`,
      };
    if (isOurs || side.nowMs - record.createdAtMs < graceMs)
      return { kind: 'begun', isSwept: false, reason: `begun ${whose}, perhaps by a process still at work` };
    return {
      kind: 'orphan',
      isForeign: false,
      reason: `made ${whose}; no PersistentVolume of it was ever seen`,
    };
  }
  return {
    kind: 'orphan',
    isForeign: false,
    reason: `made ${whose}; its PersistentVolume is gone, and its data was never let go`,
  };
}

/** A PV that a person wrote without the pool's uuid means whatever has the handle: what may be meant is nobody's orphan. */
export function mayStandFor(
  volume: PersistentVolume,
  record: Pick<HeldVolume, 'volumeId' | 'poolUuid'>,
  driverName: string,
): boolean {
  const { csi } = volume.spec;
  if (csi?.driver !== driverName || csi.volumeHandle !== record.volumeId) return false;
  return mayBeSamePool(poolUuidOf(volume), record.poolUuid);
}
