import { provisionerFinalizer } from '../claims/annotations.ts';
import { claimKey, uidOf } from '../claims/claim-facts.ts';
import { isBoundTo } from '../claims/volume-facts.ts';
import type { Tombstone } from '../claims/tombstone.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import type { ClaimRef } from '../model/volume.ts';
import type { LossDecision } from './decide-loss.ts';
import type { VolumeEnd } from './decide-volume-end.ts';

/** All of it asked of the API server a moment ago. */
export interface RecreationFacts {
  /** unset: it is gone, or another one has its name */
  readonly volume: PersistentVolume | undefined;
  /** the claim that the PV was for */
  readonly claimRef: ClaimRef;
  /** whatever claim has that name */
  readonly claim: PersistentVolumeClaim | undefined;
  /** of this very PV */
  readonly tombstone: Tombstone | undefined;
  /** of the PV's node; unset: the PV is gone, and it makes no difference any more */
  readonly loss: LossDecision | undefined;
  /** what may become of the PV if its claim is gone */
  readonly end: VolumeEnd;
}

export type RecreationStep =
  /** `recreation` pending: with the claim's manifest */
  | { readonly kind: 'write-tombstone'; readonly recreation: 'none' | 'pending'; readonly reason: string }
  /** the node is back before anything was let go */
  | { readonly kind: 'drop-tombstone'; readonly reason: string }
  | { readonly kind: 'delete-claim'; readonly reason: string }
  | { readonly kind: 'end-pods'; readonly reason: string }
  | { readonly kind: 'release-volume'; readonly reason: string }
  | { readonly kind: 'recreate-claim'; readonly reason: string }
  /** the claim is there again, whoever made it, or nobody wants it */
  | { readonly kind: 'finish'; readonly reason: string }
  /** not yet; unset `afterMs`: nobody knows when */
  | { readonly kind: 'wait'; readonly afterMs?: number; readonly reason: string }
  /** `tell`: why a claim stays as it is, for whoever wonders */
  | { readonly kind: 'leave'; readonly tell: boolean; readonly reason: string };

/**
 * The next step for a PV whose node is lost, by what is there now and by its tombstone: whoever comes after a crash takes the same one.
 *
 * A claim whose data is given up goes in the order that the protections allow: tombstone, claim (pvc-protection holds it while a pod
 * uses it), the pods on the lost node, then, once the binder has seen the claim gone, the PV, and last the claim anew. Before the claim
 * is deleted a node that comes back ends it all; after that the claim is made anew in any case, and the node sees to its volume.
 */
export function decideRecreation(facts: RecreationFacts): RecreationStep {
  return facts.tombstone?.recreation === 'pending' ? carryOn(facts) : begin(facts);
}

function carryOn(facts: RecreationFacts): RecreationStep {
  const { volume, claim, claimRef, tombstone, loss, end } = facts;
  const isLost = loss?.kind === 'lost';
  const isOld = claim !== undefined && uidOf(claim) === claimRef.uid;
  if (isOld && claim.metadata.deletionTimestamp === undefined) {
    if (volume === undefined)
      return { kind: 'drop-tombstone', reason: 'the PV is gone and its claim is not; a person has to look' };
    // a new process waits a little before it acts, and has nothing to take back for that
    if (loss?.kind === 'wait') return { kind: 'wait', afterMs: loss.afterMs, reason: loss.reason };
    return isLost && loss.policy.kind === 'recreate-empty'
      ? { kind: 'delete-claim', reason: loss.reason }
      : { kind: 'drop-tombstone', reason: loss?.reason ?? 'its PV is not lost' };
  }
  if (isOld) {
    if (isLost) return { kind: 'end-pods', reason: loss.reason };
    const until = loss?.kind === 'wait' ? { afterMs: loss.afterMs } : {};
    return { kind: 'wait', ...until, reason: 'its pods there end by themselves, unless the node is lost' };
  }
  if (volume !== undefined) {
    if (volume.status?.phase === 'Bound' || volume.status?.phase === 'Pending')
      return { kind: 'wait', reason: 'the binder has not seen yet that the claim is gone' };
    if (loss?.kind === 'wait') return { kind: 'wait', afterMs: loss.afterMs, reason: loss.reason };
    if (isLost && end.kind === 'now') return { kind: 'release-volume', reason: loss.reason };
  }
  if (claim === undefined && tombstone?.manifest !== undefined)
    return { kind: 'recreate-claim', reason: `claim ${claimKey(claimRef)} is gone` };
  if (volume !== undefined && isLeaving(volume)) return { kind: 'wait', reason: 'the PV is on its way out' };
  return { kind: 'finish', reason: 'the claim is there again, or not wanted' };
}

/** Deleted, and not for its data's sake still there: with the tombstone dropped now nobody would tell its node. */
function isLeaving({ metadata }: PersistentVolume): boolean {
  return (
    metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(provisionerFinalizer) !== true
  );
}

function begin({ volume, claim, claimRef, tombstone, loss, end }: RecreationFacts): RecreationStep {
  if (volume === undefined) return leave('the PV is gone');
  if (loss?.kind === 'wait') return { kind: 'wait', afterMs: loss.afterMs, reason: loss.reason };
  if (loss?.kind !== 'lost') return leave(loss?.reason ?? 'it is not lost');
  if (claim !== undefined && uidOf(claim) === claimRef.uid) {
    if (claim.metadata.deletionTimestamp !== undefined)
      return leave(`claim ${claimKey(claimRef)} is being deleted and still in use`);
    if (!isBoundTo(volume, claim)) return leave(`claim ${claimKey(claimRef)} is not bound to it`);
    if (loss.policy.kind === 'release') return { kind: 'leave', tell: true, reason: loss.reason };
    return { kind: 'write-tombstone', recreation: 'pending', reason: loss.reason };
  }
  // written back from a file, with its PV: the node would keep the data, too
  if (claim?.spec.volumeName === volume.metadata.name)
    return leave(`claim ${claimKey(claimRef)} is a newer one and names the PV`);
  if (end.kind === 'later') return { kind: 'wait', afterMs: end.afterMs, reason: end.reason };
  if (end.kind === 'not') return leave(end.reason);
  return tombstone === undefined
    ? { kind: 'write-tombstone', recreation: 'none', reason: loss.reason }
    : { kind: 'release-volume', reason: loss.reason };
}

function leave(reason: string): RecreationStep {
  return { kind: 'leave', tell: false, reason };
}
