import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { retainFor as retainForKey } from '../../claims/annotations.ts';
import { mergeConditions, standingConditions, type WantedCondition } from '../../claims/claim-conditions.ts';
import {
  modificationStateOf,
  modifyConditions,
  modifyError,
  modifying,
  type ModifyStatus,
} from './modification-state.ts';
import { toldText } from '../../model/told-text.ts';

/** What is written of a change of attributes, as JSON merge patches that hold only for the object as it was read. */

/** The class cannot be used yet; what earlier attempts came to stands. */
export function pendingPatch(claim: PersistentVolumeClaim, target: string): object {
  return patchOf(claim, { modifyVolumeStatus: statusOf(target, 'Pending') });
}

/** Before the driver is asked: from now on this class may be on its way. */
export function beginningPatch(claim: PersistentVolumeClaim, target: string, nowMs: number): object {
  const message = `Modifying volume to "${target}" is in progress.`;
  return patchOf(claim, {
    modifyVolumeStatus: statusOf(target, 'InProgress'),
    conditions: mergeConditions(claim, modifyConditions, [{ type: modifying, message }], nowMs),
  });
}

/** @returns undefined where the claim says exactly this already */
export function failurePatch(
  claim: PersistentVolumeClaim,
  target: string,
  failure: {
    readonly status: ModifyStatus;
    readonly isFinal: boolean;
    readonly code: string;
    readonly message: string;
  },
  nowMs: number,
): object | undefined {
  const how = failure.isFinal ? 'failed. Waiting for retry.' : 'is still in progress.';
  const wanted: readonly WantedCondition[] = [
    { type: modifying, message: `Modifying volume to "${target}" ${how}` },
    { type: modifyError, reason: failure.code, message: toldText(failure.message) },
  ];
  const standing = standingConditions(claim, modifyConditions);
  const isSaid = wanted.every(({ type, reason, message }) =>
    standing.some((known) => known.type === type && known.reason === reason && known.message === message),
  );
  if (isSaid && modificationStateOf(claim).status === failure.status) return undefined;
  return patchOf(claim, {
    modifyVolumeStatus: statusOf(target, failure.status),
    conditions: mergeConditions(claim, modifyConditions, wanted, nowMs),
  });
}

/**
 * The PV's first, so that it is never the claim alone that says it. Undefined: it says so already.
 *
 * @param retainFor how long the volume is retained once it is released; unset: the class does not say
 */
export function volumePatch(
  { metadata, spec }: PersistentVolume,
  target: string,
  retainFor?: string,
): object | undefined {
  const isRetained = retainFor === undefined || metadata.annotations?.[retainForKey] === retainFor;
  if (spec.volumeAttributesClassName === target && isRetained) return undefined;
  const { resourceVersion } = metadata;
  const annotations = retainFor === undefined ? {} : { annotations: { [retainForKey]: retainFor } };
  return { metadata: { resourceVersion, ...annotations }, spec: { volumeAttributesClassName: target } };
}

export function finishedPatch(claim: PersistentVolumeClaim, target: string, nowMs: number): object {
  return patchOf(claim, {
    currentVolumeAttributesClassName: target,
    modifyVolumeStatus: null,
    conditions: mergeConditions(claim, modifyConditions, [], nowMs),
  });
}

/** Nobody wants the change any more. */
export function cancelPatch(claim: PersistentVolumeClaim, nowMs: number): object {
  return patchOf(claim, {
    modifyVolumeStatus: null,
    conditions: mergeConditions(claim, modifyConditions, [], nowMs),
  });
}

function statusOf(targetVolumeAttributesClassName: string, status: ModifyStatus): object {
  return { targetVolumeAttributesClassName, status };
}

function patchOf({ metadata: { resourceVersion } }: PersistentVolumeClaim, status: object): object {
  return { metadata: { resourceVersion }, status };
}
