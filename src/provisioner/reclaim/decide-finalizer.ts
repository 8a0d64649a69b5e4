import type { PersistentVolume } from '../../kube/objects.ts';
import { provisionerFinalizer, reclaiming } from '../../claims/annotations.ts';

export type FinalizerDecision = { readonly kind: 'add' | 'remove' | 'keep'; readonly reason: string };

/**
 * Whether a PV needs the finalizer that lets its storage be reclaimed even if the PV is deleted before its claim.
 * With Retain or Recycle it comes off: the PV may go, the storage stays.
 */
export function decideFinalizer(volume: PersistentVolume): FinalizerDecision {
  const isThere = volume.metadata.finalizers?.includes(provisionerFinalizer) ?? false;
  const policy = volume.spec.persistentVolumeReclaimPolicy ?? 'Retain';
  if (policy !== 'Delete') {
    return isThere
      ? { kind: 'remove', reason: `reclaim policy ${policy} keeps the storage` }
      : { kind: 'keep', reason: `reclaim policy ${policy} needs none` };
  }
  if (isThere && canNeverBeReclaimed(volume)) {
    return {
      kind: 'remove',
      reason: 'it is being deleted, and names no claim that could be gone: its volume stays, as an orphan',
    };
  }
  if (isThere) return { kind: 'keep', reason: 'it is there' };
  if (volume.metadata.deletionTimestamp !== undefined)
    return { kind: 'keep', reason: 'the PV is being deleted already' };
  if (volume.status?.phase !== 'Bound') return { kind: 'keep', reason: 'the PV is not bound' };
  return { kind: 'add', reason: 'a bound PV with policy Delete' };
}

/** A terminating PV is never bound again, so that one which is offered to a claim by name only would stay for ever. */
function canNeverBeReclaimed({ metadata, spec, status }: PersistentVolume): boolean {
  if (metadata.deletionTimestamp === undefined || metadata.annotations?.[reclaiming] !== undefined)
    return false;
  return (spec.claimRef?.uid ?? '') === '' && status?.phase !== 'Bound';
}

/**
 * Strategic patches merge this list item by item, so nobody else's finalizer is touched and no version is needed; but the uid is: a newer
 * PV of the name has a finalizer of its own.
 */
export function finalizerPatch({ metadata: { uid } }: PersistentVolume, kind: 'add' | 'remove'): object {
  const change =
    kind === 'add'
      ? { finalizers: [provisionerFinalizer] }
      : { '$deleteFromPrimitiveList/finalizers': [provisionerFinalizer] };
  return { metadata: { ...(uid === undefined ? {} : { uid }), ...change } };
}
