import type { PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass } from '../../kube/objects.ts';
import { hasCondition } from '../../claims/claim-conditions.ts';
import { isBoundTo, isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import { modificationStateOf, modifying, type ModificationState } from './modification-state.ts';

export type ModificationDecision =
  /** not ours, or nothing to do */
  | { readonly kind: 'ignore'; readonly reason: string }
  /** nobody wants a change any more, and none is under way */
  | { readonly kind: 'cancel'; readonly reason: string }
  /** the class cannot be used, which may change */
  | { readonly kind: 'wait'; readonly target: string; readonly isNew: boolean; readonly reason: string }
  | {
      readonly kind: 'modify';
      readonly attributes: VolumeAttributesClass;
      /** the claim already says that this class is being applied */
      readonly isRecorded: boolean;
      /** back to the class that the volume had */
      readonly isReturn: boolean;
      readonly reason: string;
    };

/**
 * Whether this node applies a VolumeAttributesClass to a claim's volume now, and which (external-resizer's rules).
 *
 * That is the class which the claim names, unless an earlier change may still be under way: then that one is brought to its end first,
 * whatever the claim names meanwhile.
 */
export function decideModification(input: {
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume | undefined;
  readonly own: OwnSide;
  readonly classOf: (name: string) => VolumeAttributesClass | undefined;
  /** whether the last attempt for this claim ended with an answer after which nothing is under way */
  readonly lastErrorWasFinal: boolean;
}): ModificationDecision {
  const { claim, volume, own } = input;
  if (claim.status?.phase !== 'Bound') return ignore('the claim is not bound');
  if (volume === undefined) return ignore('its PV is not known here');
  if (volume.spec.csi?.driver !== own.driverName || !isOnNode(volume, own))
    return ignore('its PV is of another driver or node');
  if (!isBoundTo(volume, claim)) return ignore('the PV is not of this claim');
  const state = modificationStateOf(claim);
  if (state.status === undefined && state.wanted === state.current)
    return ignore('the volume is as its claim wants it');
  const isUnderWay = state.status === 'InProgress' && !input.lastErrorWasFinal;
  if (state.wanted === '' && state.status !== 'InProgress') {
    return state.status !== undefined || hasCondition(claim, modifying)
      ? { kind: 'cancel', reason: 'the claim names no class any more' }
      : ignore('the claim names no class');
  }
  const keepsTarget = state.target !== '' && (isUnderWay || state.wanted === '');
  return apply(keepsTarget ? state.target : state.wanted, state, input);
}

function apply(
  name: string,
  state: ModificationState,
  { own, classOf }: Pick<Parameters<typeof decideModification>[0], 'own' | 'classOf'>,
): ModificationDecision {
  const attributes = classOf(name);
  const isRecorded = state.target === name && state.status !== undefined && state.status !== 'Pending';
  const wait = (reason: string): ModificationDecision => {
    // what may be under way is not called pending again
    const isNew = !isRecorded && !(state.status === 'Pending' && state.target === name);
    return { kind: 'wait', target: name, isNew, reason };
  };
  if (attributes === undefined) {
    const returns = name === state.current && state.status !== 'InProgress';
    return returns
      ? { kind: 'cancel', reason: 'the volume has that class, which is gone' }
      : wait(`VolumeAttributesClass "${name}" does not exist`);
  }
  if (attributes.driverName !== own.driverName) {
    return wait(
      `VolumeAttributesClass "${name}" is of driver ${attributes.driverName}, the volume of ${own.driverName}`,
    );
  }
  const isReturn = name === state.current;
  const reason = isReturn ? 'the claim wants its old class back' : 'the claim names another class';
  return { kind: 'modify', attributes, isRecorded, isReturn, reason };
}

function ignore(reason: string): ModificationDecision {
  return { kind: 'ignore', reason };
}
