import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { nodeExpansionNotRequired, preResizeCapacity } from '../../claims/annotations.ts';
import {
  hasCondition,
  mergeConditions,
  standingConditions,
  type WantedCondition,
} from '../../claims/claim-conditions.ts';
import { formatQuantity } from '../../model/quantity.ts';
import { resizeConditions, type ResizeStatus, type Size } from './expansion-state.ts';
import { toldText } from '../../model/told-text.ts';

/** What is written of a growth, as JSON merge patches that hold only for the object as it was read. Undefined: it says so already. */
type MergePatch = object | undefined;

const controllerWorks: readonly (ResizeStatus | undefined)[] = [
  'ControllerResizeInProgress',
  'ControllerResizeInfeasible',
];

/** Before the driver is asked: from now on this size may be on its way. */
export function beginningPatch(
  claim: PersistentVolumeClaim,
  target: Size,
  { isRecorded, status }: { readonly isRecorded: boolean; readonly status: ResizeStatus | undefined },
  nowMs: number,
): MergePatch {
  const { [nodeExpansionNotRequired]: noted } = claim.metadata.annotations ?? {};
  // another try of the same: what the last one came to stands until this one is over
  const isRepeat = isRecorded && controllerWorks.includes(status);
  if (isRepeat && noted === undefined && hasCondition(claim, 'Resizing')) return undefined;
  const kept = isRepeat
    ? standingConditions(claim, resizeConditions).filter(({ type }) => type !== 'Resizing')
    : [];
  return {
    metadata: {
      ...versionOf(claim),
      ...(noted === undefined ? {} : { annotations: { [nodeExpansionNotRequired]: null } }),
    },
    status: {
      allocatedResources: { storage: target.text },
      ...(isRepeat ? {} : { allocatedResourceStatuses: statusOf('ControllerResizeInProgress') }),
      conditions: mergeConditions(claim, resizeConditions, [{ type: 'Resizing' }, ...kept], nowMs),
    },
  };
}

/** The driver has failed for good, for now (`infeasible` unset) or with this size. */
export function failurePatch(
  claim: PersistentVolumeClaim,
  text: string,
  { isInfeasible }: { readonly isInfeasible: boolean },
  nowMs: number,
): MergePatch {
  const message = toldText(text);
  const standing = standingConditions(claim, resizeConditions);
  const status: ResizeStatus = 'ControllerResizeInfeasible';
  const isSaid = standing.some(
    (known) => known.type === 'ControllerResizeError' && known.message === message,
  );
  if (isSaid && (!isInfeasible || claim.status?.allocatedResourceStatuses?.['storage'] === status))
    return undefined;
  const failed: WantedCondition = { type: 'ControllerResizeError', message };
  const kept = standing.filter(({ type }) => type !== failed.type);
  return {
    metadata: versionOf(claim),
    status: {
      ...(isInfeasible ? { allocatedResourceStatuses: statusOf(status) } : {}),
      conditions: mergeConditions(claim, resizeConditions, [...kept, failed], nowMs),
    },
  };
}

/**
 * The PV gets what its volume has, to the byte.
 *
 * @param has what the claim had before: kube-controller-manager leaves the claim at it until kubelet has finished. Unset: nothing is
 * left for kubelet
 */
export function volumePatch(
  volume: PersistentVolume,
  capacityBytes: bigint,
  has: Size | undefined,
): MergePatch {
  const storage = formatQuantity(capacityBytes);
  const noted = volume.metadata.annotations?.[preResizeCapacity];
  const annotates = has !== undefined && noted === undefined;
  if (!annotates && volume.spec.capacity?.['storage'] === storage) return undefined;
  return {
    metadata: {
      ...versionOf(volume),
      ...(annotates ? { annotations: { [preResizeCapacity]: has.text } } : {}),
    },
    spec: { capacity: { storage } },
  };
}

/** kubelet has finished, or has nothing to finish. */
export function tidyPatch(volume: PersistentVolume): object {
  return { metadata: { ...versionOf(volume), annotations: { [preResizeCapacity]: null } } };
}

/** The rest is kubelet's. */
export function nodePendingPatch(claim: PersistentVolumeClaim, nowMs: number): object {
  const waiting: WantedCondition = {
    type: 'FileSystemResizePending',
    message: 'The volume has grown; kubelet grows its file system where a pod uses it, or when one starts.',
  };
  return {
    metadata: { ...versionOf(claim), annotations: { [nodeExpansionNotRequired]: null } },
    status: {
      allocatedResourceStatuses: statusOf('NodeResizePending'),
      conditions: mergeConditions(claim, resizeConditions, [waiting], nowMs),
    },
  };
}

/** The claim has what its volume has. */
export function finishedPatch(claim: PersistentVolumeClaim, capacityBytes: bigint, nowMs: number): object {
  return {
    metadata: { ...versionOf(claim), annotations: { [nodeExpansionNotRequired]: 'true' } },
    status: {
      capacity: { storage: formatQuantity(capacityBytes) },
      allocatedResourceStatuses: { storage: null },
      conditions: mergeConditions(claim, resizeConditions, [], nowMs),
    },
  };
}

function statusOf(status: ResizeStatus): object {
  return { storage: status };
}

function versionOf({ metadata: { resourceVersion } }: PersistentVolumeClaim | PersistentVolume): object {
  return { resourceVersion };
}
