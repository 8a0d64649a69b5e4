import { isDeepStrictEqual } from 'node:util';
import type { VolumeSnapshotContent } from '../../kube/objects.ts';
import { nodeLabel } from '../../claims/annotations.ts';
import { uidOf } from '../../claims/claim-facts.ts';
import * as protocol from './protocol.ts';

/** Name of the CSI snapshot that belongs to a content: the same at every attempt. */
export function snapshotNameFor(content: VolumeSnapshotContent): string {
  return `snapshot-${content.spec.volumeSnapshotRef.uid ?? ''}`;
}

/** The snapshot's id, once it is known; '' until then. */
export function handleOf({ spec, status }: VolumeSnapshotContent): string {
  return status?.snapshotHandle ?? spec.source.snapshotHandle ?? '';
}

/** One of a group, which is deleted with its group and by those who made it. */
export function isGroupMember({ metadata, status }: VolumeSnapshotContent): boolean {
  if (metadata.annotations?.[protocol.groupMember] !== undefined) return true;
  return (status?.volumeGroupSnapshotHandle ?? '') !== '';
}

export function isMarkedCreating({ metadata }: VolumeSnapshotContent): boolean {
  return metadata.annotations?.[protocol.beingCreated] !== undefined;
}

/**
 * Whether a content has to be looked at for this change. Not for what this loop itself writes: it would call the driver again for each
 * of its own news, past every back-off.
 */
export function isNews(
  previous: VolumeSnapshotContent | undefined,
  current: VolumeSnapshotContent,
  ownLabel: string,
): boolean {
  if (previous === undefined || uidOf(previous) !== uidOf(current)) return true;
  // a deletion may have waited for it
  if (previous.status?.readyToUse !== true && current.status?.readyToUse === true) return true;
  return !isDeepStrictEqual(othersPart(previous, ownLabel), othersPart(current, ownLabel));
}

function othersPart({ metadata, spec }: VolumeSnapshotContent, ownLabel: string): object {
  const { [protocol.beingCreated]: _, [protocol.consistencyNote]: __, ...notes } = metadata.annotations ?? {};
  const { [nodeLabel]: node, ...labels } = metadata.labels ?? {};
  const otherNode = node === undefined || node === ownLabel ? {} : { node };
  return { spec, notes, labels, otherNode, deletedAt: metadata.deletionTimestamp };
}
