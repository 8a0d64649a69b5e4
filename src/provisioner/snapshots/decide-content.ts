import type { VolumeSnapshotContent } from '../../kube/objects.ts';
import { isGroupMember, isMarkedCreating } from './content-facts.ts';
import { beingDeleted, contentFinalizer } from './protocol.ts';

export type ContentDecision =
  /** ask the driver for the snapshot, for the first time or again */
  | { readonly kind: 'create'; readonly volumeId: string; readonly reason: string }
  /** somebody made the snapshot before there was a content: ask whether it is there */
  | { readonly kind: 'check'; readonly snapshotId: string; readonly reason: string }
  /** have the driver delete the snapshot, then let the content go */
  | { readonly kind: 'delete'; readonly snapshotId: string; readonly reason: string }
  /** the content may go, whatever becomes of the snapshot */
  | { readonly kind: 'let-go'; readonly reason: string }
  /** the mark of a creation that is over stands yet */
  | { readonly kind: 'unmark'; readonly reason: string }
  | { readonly kind: 'keep'; readonly reason: string };

/** What to do about a content of ours, by what it says itself. */
export function decideContent(content: VolumeSnapshotContent): ContentDecision {
  const { metadata, spec, status } = content;
  const isGoing = metadata.deletionTimestamp !== undefined;
  if (isGoing && mayGo(content)) return decideEnd(content);

  const isReady = status?.readyToUse === true;
  const isMade = (status?.snapshotHandle ?? '') !== '';
  if (isMarkedCreating(content) && (isReady || isMade))
    return { kind: 'unmark', reason: 'its snapshot is made' };
  if (isReady) return { kind: 'keep', reason: 'its snapshot is ready' };

  const { volumeHandle = '', snapshotHandle = '' } = spec.source;
  if (snapshotHandle !== '')
    return { kind: 'check', snapshotId: snapshotHandle, reason: 'made beforehand, and not seen ready yet' };
  if (isMade) return { kind: 'create', volumeId: volumeHandle, reason: 'its snapshot is not ready yet' };
  if (!isGoing)
    return { kind: 'create', volumeId: volumeHandle, reason: 'nothing is known of its snapshot yet' };
  if (isMarkedCreating(content)) {
    return {
      kind: 'create',
      volumeId: volumeHandle,
      reason: 'it is to go, but the driver may be at work on its snapshot: that has to be known first',
    };
  }
  return { kind: 'keep', reason: 'it was deleted before its VolumeSnapshot, which has to go first' };
}

/** Whether a content that is being deleted may go: its controller said so, and no creation is under way. */
function mayGo(content: VolumeSnapshotContent): boolean {
  const { metadata, spec } = content;
  const isUnbound = (spec.source.snapshotHandle ?? '') !== '' && (spec.volumeSnapshotRef.uid ?? '') === '';
  if (isUnbound) return true;
  return !isMarkedCreating(content) && metadata.annotations?.[beingDeleted] !== undefined;
}

function decideEnd(content: VolumeSnapshotContent): ContentDecision {
  const { metadata, spec, status } = content;
  if (metadata.finalizers?.includes(contentFinalizer) !== true)
    return { kind: 'keep', reason: 'it is being deleted and our finalizer is off' };
  if (spec.deletionPolicy !== 'Delete')
    return { kind: 'let-go', reason: `deletion policy ${spec.deletionPolicy} keeps the snapshot` };
  if (isGroupMember(content)) return { kind: 'let-go', reason: 'its snapshot goes with its group' };
  // a status that says neither a handle nor an error is what an earlier attempt left when the snapshot was gone
  const isCleared = status !== undefined && status.error === undefined;
  const snapshotId = status?.snapshotHandle ?? (isCleared ? '' : (spec.source.snapshotHandle ?? ''));
  if (snapshotId === '') return { kind: 'let-go', reason: 'it has no snapshot any more' };
  return { kind: 'delete', snapshotId, reason: 'its VolumeSnapshot is gone, deletion policy Delete' };
}
