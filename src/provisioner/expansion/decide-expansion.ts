import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { preResizeCapacity, storageResizer } from '../../claims/annotations.ts';
import { hasCondition } from '../../claims/claim-conditions.ts';
import { isBoundTo, isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import { type ExpansionState, expansionStateOf, type Size } from './expansion-state.ts';

export type ExpansionDecision =
  /** not ours, or nothing to do */
  | { readonly kind: 'ignore'; readonly reason: string }
  /** kubelet is done with what it had to do: the PV's note for it goes */
  | { readonly kind: 'tidy'; readonly reason: string }
  | {
      readonly kind: 'expand';
      readonly target: Size;
      readonly state: ExpansionState;
      /** the claim already says that this size is being worked on, or was */
      readonly isRecorded: boolean;
      readonly reason: string;
    };

/**
 * Whether this node grows a claim's volume now, and to which size (external-resizer's rules, recovery from failed growth included).
 *
 * The size is what the claim asks for, unless an earlier growth may still be under way: that one is brought to its end first, whatever
 * the claim asks for meanwhile.
 */
export function decideExpansion(input: {
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume | undefined;
  readonly own: OwnSide;
  /** whether the last attempt for this claim ended with an answer after which nothing is under way */
  readonly lastErrorWasFinal: boolean;
  /** false: all growth is kubelet's, and the driver's controller half is not asked */
  readonly controllerExpands: boolean;
}): ExpansionDecision {
  const { claim, volume, own } = input;
  if (claim.status?.phase !== 'Bound' || (claim.spec.volumeName ?? '') === '')
    return ignore('the claim is not bound');
  if (volume === undefined) return ignore('its PV is not known here');
  if (volume.spec.csi?.driver !== own.driverName || !isOnNode(volume, own))
    return ignore('its PV is of another driver or node');
  if (!isBoundTo(volume, claim)) return ignore('the PV is not of this claim');
  const resizer = claim.metadata.annotations?.[storageResizer] ?? own.driverName;
  if (resizer !== own.driverName) return ignore(`${resizer} grows this claim`);
  const state = expansionStateOf(claim, volume);
  if (state === undefined) return ignore('a size is missing or cannot be read');

  if (state.requested.bytes <= state.has.bytes) {
    const isTold = volume.metadata.annotations?.[preResizeCapacity] !== undefined;
    return isTold && state.has.bytes >= state.volume.bytes
      ? { kind: 'tidy', reason: 'kubelet has finished' }
      : ignore('the claim has what it asks for');
  }
  return state.volume.bytes < state.requested.bytes
    ? volumeIsSmaller(state, input)
    : volumeIsLargeEnough(state, claim, input);
}

interface Knowledge {
  readonly lastErrorWasFinal: boolean;
  readonly controllerExpands: boolean;
}

function volumeIsSmaller(state: ExpansionState, knowledge: Knowledge): ExpansionDecision {
  const { status, requested, allocated = requested, volume } = state;
  switch (status) {
    case undefined:
    case 'ControllerResizeInfeasible':
      return expand(requested, state, 'the claim asks for more than its volume has');
    case 'ControllerResizeInProgress':
      // a claim that has that much already: its growth ended, whoever forgot to say so
      return knowledge.lastErrorWasFinal || allocated.bytes <= state.has.bytes
        ? expand(requested, state, 'nothing is under way any more')
        : expand(allocated, state, 'an earlier growth may be under way');
    case 'NodeResizePending':
    case 'NodeResizeInProgress':
      if (volume.bytes >= allocated.bytes) return ignore('kubelet has to finish an earlier growth first');
      return expand(allocated, state, 'an earlier growth was not recorded');
    case 'NodeResizeInfeasible':
      // a driver that grows volumes itself may be asked for another size than kubelet failed at
      return knowledge.controllerExpands
        ? expand(requested, state, 'kubelet could not finish an earlier growth')
        : expand(allocated, state, 'kubelet could not finish an earlier growth');
  }
}

function volumeIsLargeEnough(
  state: ExpansionState,
  claim: PersistentVolumeClaim,
  knowledge: Knowledge,
): ExpansionDecision {
  const { status, requested, allocated } = state;
  switch (status) {
    case 'NodeResizePending':
    case 'NodeResizeInProgress':
      return ignore('kubelet has to finish');
    case 'NodeResizeInfeasible':
      return knowledge.controllerExpands
        ? expand(allocated ?? requested, state, 'kubelet could not finish')
        : expand(requested, state, 'kubelet could not finish');
    case 'ControllerResizeInProgress':
    case 'ControllerResizeInfeasible':
      return expand(allocated ?? requested, state, 'the volume has grown, which the claim does not say yet');
    case undefined:
      if (allocated !== undefined) return expand(allocated, state, 'an earlier growth was not recorded');
      // an API server that keeps no statuses: its kubelets go by the condition
      return hasCondition(claim, 'FileSystemResizePending')
        ? ignore('kubelet has to finish')
        : expand(requested, state, 'the claim does not say what its volume has');
  }
}

function expand(target: Size, state: ExpansionState, reason: string): ExpansionDecision {
  return { kind: 'expand', target, state, isRecorded: state.allocated?.bytes === target.bytes, reason };
}

function ignore(reason: string): ExpansionDecision {
  return { kind: 'ignore', reason };
}
