import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { provisionerFinalizer, reclaiming } from '../../claims/annotations.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import { isOfDriver, isOnNode, mayBeSamePool, poolUuidOf, type OwnSide } from '../../claims/volume-facts.ts';
import { readEnd, retentionEndMs } from '../../claims/read-end.ts';

/** The claim is gone, as far as the PV controller knows. */
interface Released {
  readonly claim: ClaimRef;
  readonly volumeId: string;
  readonly reason: string;
}

export type ReclaimDecision =
  /** look, then destroy data and PV */
  | ({ readonly kind: 'reclaim' } & Released)
  /** look, then empty the volume and offer the PV to the next claim */
  | ({ readonly kind: 'recycle' } & Released)
  /** left as it is until then */
  | ({
      readonly kind: 'retain';
      readonly untilMs: number;
      /** whether the PV says so already */
      readonly isNoted: boolean;
      readonly forMs: number;
      readonly next: 'reclaim' | 'recycle';
    } & Released)
  /** a static PV whose policy Recycle nobody else serves */
  | { readonly kind: 'adopt-recycle'; readonly reason: string }
  /** a person wrote what cannot be read: nothing is destroyed */
  | { readonly kind: 'unclear'; readonly isRecycle: boolean; readonly reason: string }
  /** ours, but nothing is to be destroyed now */
  | { readonly kind: 'keep'; readonly reason: string }
  /** another PV, which is not to be reclaimed, has the same data */
  | { readonly kind: 'shared'; readonly reason: string }
  /** another driver's or another node's */
  | { readonly kind: 'ignore'; readonly reason: string };

/**
 * What to do about a PV, by what it says itself.
 *
 * A PV that somebody deleted while its volume is retained stays Terminating, held by our finalizer, until the retention ends: until then
 * `loam undelete` can still make another PV over the data. One that is to be recycled and is being deleted can never be offered again;
 * policy Retain leaves its data where it is.
 *
 * @param sameData other PVs over the same driver and handle: a volume belongs to every one of them
 * @param nowMs 0: no retention has ended yet
 */
export function decideReclaim(
  volume: PersistentVolume,
  own: OwnSide,
  sameData: readonly PersistentVolume[] = [],
  nowMs = 0,
): ReclaimDecision {
  const csi = volume.spec.csi;
  if (!isOfDriver(volume, own.driverName)) return { kind: 'ignore', reason: "another driver's" };
  if (csi?.driver !== own.driverName)
    return { kind: 'ignore', reason: 'it has no CSI source of this driver' };
  if (!isOnNode(volume, own)) return { kind: 'ignore', reason: 'its nodeAffinity is not this node' };

  const end = readEnd(volume);
  if (end.kind === 'keep' || end.kind === 'unclear') return end;
  const isRecycle = end.kind !== 'destroy';
  // other people's drivers cannot empty a volume
  if (isRecycle && !own.ownDriver) return keep('this driver cannot recycle volumes');
  const phase = volume.status?.phase ?? 'Pending';
  if (phase !== 'Released' && phase !== 'Failed') return keep(`phase ${phase}`);
  const isGoing = volume.metadata.deletionTimestamp !== undefined;
  const isProtected = volume.metadata.finalizers?.includes(provisionerFinalizer) ?? false;
  if (isGoing && !isProtected) return keep('it is being deleted and our finalizer was taken away');
  if (isGoing && isRecycle) return keep('it is being deleted, and can never be offered again');
  const ref = volume.spec.claimRef;
  if (ref?.uid === undefined || ref.uid === '') return keep('it names no claim that could be gone');
  if (end.kind === 'native-recycle')
    return { kind: 'adopt-recycle', reason: `phase ${phase}, reclaim policy Recycle` };
  const sharer = sameData.find((other) => keepsDataOf(other, volume, nowMs));
  if (sharer !== undefined) {
    return {
      kind: 'shared',
      reason: `PersistentVolume ${sharer.metadata.name} has the same data and is not to be reclaimed`,
    };
  }
  const kind = isRecycle ? 'recycle' : 'reclaim';
  const released = {
    claim: { namespace: ref.namespace ?? '', name: ref.name ?? '', uid: ref.uid },
    volumeId: csi.volumeHandle,
    reason: `phase ${phase}, reclaim policy ${isRecycle ? 'Retain with on-release: recycle' : 'Delete'}`,
  };
  const { retainedUntilMs, retainForMs } = end;
  // the clocks of two machines never agree: with nothing to retain it is now, whichever is ahead
  const sinceMs = retainForMs === 0 ? nowMs : Math.max(nowMs, releasedMs(volume));
  const untilMs = retainedUntilMs ?? retentionEndMs(sinceMs, retainForMs);
  if (untilMs <= nowMs) return { kind, ...released };
  const isNoted = retainedUntilMs !== undefined;
  return { kind: 'retain', ...released, untilMs, isNoted, forMs: retainForMs, next: kind };
}

/** By the API server's clock: a node without a battery may believe that it is last week, and note an end that is past. */
function releasedMs({ status }: PersistentVolume): number {
  const atMs = Date.parse(status?.lastPhaseTransitionTime ?? '');
  return Number.isNaN(atMs) ? 0 : atMs;
}

/** A PV that may still give the data to somebody, be it only by an undelete. */
function keepsDataOf(other: PersistentVolume, volume: PersistentVolume, nowMs: number): boolean {
  if (other.metadata.name === volume.metadata.name) return false;
  if (other.spec.csi?.driver !== volume.spec.csi?.driver) return false;
  if (!mayBeSamePool(poolUuidOf(other), poolUuidOf(volume))) return false;
  const phase = other.status?.phase;
  if (phase !== 'Released' && phase !== 'Failed') return true;
  const end = readEnd(other);
  if (end.kind !== 'destroy') return true;
  const { retainedUntilMs, retainForMs } = end;
  return retainedUntilMs === undefined ? retainForMs > 0 : retainedUntilMs > nowMs;
}

export type ClaimFate =
  /** or for good bound to another volume, before this one held anything */
  | { readonly kind: 'gone'; readonly reason: string }
  | { readonly kind: 'alive'; readonly reason: string }
  /** alive, with another volume, and this one may hold data */
  | { readonly kind: 'bound-elsewhere'; readonly reason: string }
  /** gone, but a newer one of its name asks for this very PV */
  | { readonly kind: 'asked-for'; readonly reason: string };

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
  const bound = live.spec.volumeName ?? '';
  if (uidOf(live) !== claim.uid) {
    if (bound !== volumeName)
      return { kind: 'gone', reason: 'a claim of that name exists, but it is a newer one' };
    // claim and PV written back from a file: Kubernetes binds them no more, and whoever wrote them wants the data
    return {
      kind: 'asked-for',
      reason: `claim ${claimKey(claim)} is a newer one and names this PersistentVolume (spec.volumeName), so that its data is kept: loam undelete ${volumeName} gives it to that claim; delete the claim to have the volume reclaimed`,
    };
  }
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

function keep(reason: string): ReclaimDecision {
  return { kind: 'keep', reason };
}
