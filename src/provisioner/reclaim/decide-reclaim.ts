import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { poolUuidKey, type ClaimRef } from '../../model/volume.ts';
import { provisionerFinalizer, reclaiming } from '../../claims/annotations.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import { isOfDriver, isOnNode, type OwnSide } from '../../claims/volume-facts.ts';

export type ReclaimDecision =
  /** its claim is gone, as far as the PV controller knows: look, then destroy */
  | { readonly kind: 'reclaim'; readonly claim: ClaimRef; readonly volumeId: string; readonly reason: string }
  /** ours, but nothing is to be destroyed now */
  | { readonly kind: 'keep'; readonly reason: string }
  /** another PV, which is not to be reclaimed, has the same data */
  | { readonly kind: 'shared'; readonly reason: string }
  /** another driver's or another node's */
  | { readonly kind: 'ignore'; readonly reason: string };

/**
 * What to do about a PV, by what it says itself.
 *
 * @param sameData other PVs over the same driver and handle: a volume belongs to every one of them
 */
export function decideReclaim(
  volume: PersistentVolume,
  own: OwnSide,
  sameData: readonly PersistentVolume[] = [],
): ReclaimDecision {
  const csi = volume.spec.csi;
  if (!isOfDriver(volume, own.driverName)) return { kind: 'ignore', reason: "another driver's" };
  if (csi?.driver !== own.driverName)
    return { kind: 'ignore', reason: 'it has no CSI source of this driver' };
  if (!isOnNode(volume, own)) return { kind: 'ignore', reason: 'its nodeAffinity is not this node' };

  const policy = volume.spec.persistentVolumeReclaimPolicy ?? 'Retain';
  if (policy !== 'Delete') return { kind: 'keep', reason: `reclaim policy ${policy}` };
  const phase = volume.status?.phase ?? 'Pending';
  if (phase !== 'Released' && phase !== 'Failed') return { kind: 'keep', reason: `phase ${phase}` };
  const isProtected = volume.metadata.finalizers?.includes(provisionerFinalizer) ?? false;
  if (volume.metadata.deletionTimestamp !== undefined && !isProtected) {
    return { kind: 'keep', reason: 'it is being deleted and our finalizer was taken away' };
  }
  const ref = volume.spec.claimRef;
  if (ref?.uid === undefined || ref.uid === '')
    return { kind: 'keep', reason: 'it names no claim that could be gone' };
  const sharer = sameData.find((other) => keepsDataOf(other, volume));
  if (sharer !== undefined) {
    return {
      kind: 'shared',
      reason: `PersistentVolume ${sharer.metadata.name} has the same data and is not to be reclaimed`,
    };
  }
  return {
    kind: 'reclaim',
    claim: { namespace: ref.namespace ?? '', name: ref.name ?? '', uid: ref.uid },
    volumeId: csi.volumeHandle,
    reason: `phase ${phase}, reclaim policy Delete`,
  };
}

function keepsDataOf(other: PersistentVolume, volume: PersistentVolume): boolean {
  if (other.metadata.name === volume.metadata.name) return false;
  if (other.spec.csi?.volumeAttributes?.[poolUuidKey] !== volume.spec.csi?.volumeAttributes?.[poolUuidKey])
    return false;
  const phase = other.status?.phase;
  const isLeftOver = phase === 'Released' || phase === 'Failed';
  return !isLeftOver || other.spec.persistentVolumeReclaimPolicy !== 'Delete';
}

export type ClaimFate =
  /** or for good bound to another volume, before this one held anything */
  | { readonly kind: 'gone'; readonly reason: string }
  | { readonly kind: 'alive'; readonly reason: string }
  /** alive, with another volume, and this one may hold data */
  | { readonly kind: 'bound-elsewhere'; readonly reason: string };

/**
 * What became of a PV's claim, by a live look at its name. `undefined`: the API server says that there is none.
 *
 * @param wasUsed whether this PV's volume was ever staged; a binding is for life, so that an unused one never will be
 */
export function decideClaimFate(
  live: PersistentVolumeClaim | undefined,
  claim: ClaimRef,
  volumeName: string,
  wasUsed: boolean,
): ClaimFate {
  if (live === undefined) return { kind: 'gone', reason: 'the claim does not exist' };
  if (uidOf(live) !== claim.uid)
    return { kind: 'gone', reason: 'a claim of that name exists, but it is a newer one' };
  const bound = live.spec.volumeName ?? '';
  if (bound !== '' && bound !== volumeName) {
    if (!wasUsed)
      return { kind: 'gone', reason: `the claim is bound to ${bound}, and this volume was never used` };
    return {
      kind: 'bound-elsewhere',
      reason: `claim ${claimKey(claim)} is alive and bound elsewhere, to ${bound}; delete the claim to have this volume reclaimed`,
    };
  }
  return { kind: 'alive', reason: `claim ${claimKey(claim)} is alive` };
}

/** Whether the mark of an earlier attempt for this claim stands on the PV. */
export function isMarked(volume: PersistentVolume, claimUid?: string): boolean {
  const mark = volume.metadata.annotations?.[reclaiming];
  return claimUid === undefined ? mark !== undefined : mark === claimUid;
}
