import type { PersistentVolume } from '../../kube/objects.ts';
import { provisionerFinalizer } from '../../claims/annotations.ts';

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
  if (isThere) return { kind: 'keep', reason: 'it is there' };
  if (volume.metadata.deletionTimestamp !== undefined)
    return { kind: 'keep', reason: 'the PV is being deleted already' };
  if (volume.status?.phase !== 'Bound') return { kind: 'keep', reason: 'the PV is not bound' };
  return { kind: 'add', reason: 'a bound PV with policy Delete' };
}

/** Strategic patches merge this list item by item, so nobody else's finalizer is touched and no version is needed. */
export function finalizerPatch(kind: 'add' | 'remove'): object {
  return kind === 'add'
    ? { metadata: { finalizers: [provisionerFinalizer] } }
    : { metadata: { '$deleteFromPrimitiveList/finalizers': [provisionerFinalizer] } };
}
