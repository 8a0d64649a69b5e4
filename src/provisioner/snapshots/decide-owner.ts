import type { PersistentVolume, VolumeSnapshotClass, VolumeSnapshotContent } from '../../kube/objects.ts';
import { nodeLabel } from '../../claims/annotations.ts';
import { isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import { handleOf, isGroupMember } from './content-facts.ts';

export type OwnerDecision = { readonly isOurs: boolean; readonly reason: string };

export interface OwnerFacts {
  readonly content: VolumeSnapshotContent;
  /** undefined: it names none, or there is none of that name */
  readonly snapshotClass: VolumeSnapshotClass | undefined;
  readonly own: OwnSide;
  /** PVs of any driver with the handle of the snapshot's source */
  readonly sourceVolumes: readonly PersistentVolume[];
  /** what is on this node's disks */
  readonly holdsSource: boolean;
  readonly holdsSnapshot: boolean;
}

/**
 * Whether a content is this node's to look after. Nobody else may ever delete its snapshot: a driver that does not have it says that it
 * is gone. A snapshot stays where its source is, so that either on our disks tells; where neither is there any more (the bytes went just
 * before a crash), the label does that this loop wrote ahead of everything else.
 */
export function decideOwner(facts: OwnerFacts): OwnerDecision {
  const { content, own, snapshotClass } = facts;
  const { driver, source } = content.spec;
  if (driver !== own.driverName) return others(`its driver is ${driver}`);
  if (snapshotClass !== undefined && snapshotClass.driver !== own.driverName)
    return others(`its class ${snapshotClass.metadata.name} is of driver ${snapshotClass.driver}`);
  if (isGroupMember(content)) return others('it is one of a group');
  const sourceHandle = source.volumeHandle ?? '';
  if (sourceHandle === '' && (source.snapshotHandle ?? '') === '') return others('it names no source');

  if (facts.holdsSnapshot) return ours(`snapshot ${handleOf(content)} is on this node`);
  const ofDriver = facts.sourceVolumes.filter(({ spec }) => spec.csi?.driver === own.driverName);
  const here = ofDriver.find((volume) => isOnNode(volume, own));
  if (here !== undefined) return ours(`its source, PersistentVolume ${here.metadata.name}, is on this node`);
  const [elsewhere] = ofDriver;
  if (elsewhere !== undefined)
    return others(`its source, PersistentVolume ${elsewhere.metadata.name}, is on another node`);
  if (sourceHandle !== '' && facts.holdsSource) return ours(`its source ${sourceHandle} is on this node`);
  if (content.metadata.labels?.[nodeLabel] === own.topologyValue)
    return ours('it has the label of this node');
  return others('neither it nor its source is on this node');
}

function ours(reason: string): OwnerDecision {
  return { isOurs: true, reason };
}

function others(reason: string): OwnerDecision {
  return { isOurs: false, reason };
}
