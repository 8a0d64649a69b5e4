import { nodeLabel } from '../claims/annotations.ts';
import { isCalled, selectedNodeOf } from '../claims/claim-facts.ts';
import { isOfDriver, topologyValueOf } from '../claims/volume-facts.ts';
import type { KubeObject, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import { nodeTopologyKey } from '../model/topology.ts';
import { labelValueOf } from '../model/topology-value.ts';

export type LabelDecision =
  | { readonly kind: 'keep'; readonly reason: string }
  /** null: it is taken off */
  | { readonly kind: 'write'; readonly value: string | null; readonly reason: string };

/** What Kubernetes takes for a label's value. */
const labelValue = /^[a-zA-Z0-9]([-\w.]{0,61}[a-zA-Z0-9])?$/;

/**
 * The label that a claim's node watches it by: that of the selected node, for as long as there is one, also when the claim is bound or
 * being deleted. It comes after kube-controller-manager's call, which the node waits for anyway: a write that gets in the way of that
 * call is made good by that controller at its next round only, 15 seconds later.
 *
 * @param storageClass unset: there is none of the claim's name; then kube-controller-manager's call says whose the claim is
 */
export function decideClaimLabel(
  claim: PersistentVolumeClaim,
  storageClass: StorageClass | undefined,
  driverName: string,
): LabelDecision {
  const isOurs =
    storageClass === undefined ? isCalled(claim, driverName) : storageClass.provisioner === driverName;
  if (!isOurs) return keep('its StorageClass is not ours');
  const nodeName = selectedNodeOf(claim);
  if (nodeName === undefined) return decide(claim, undefined, 'no node is selected');
  const value = labelValueOf(nodeName);
  // anybody may have written the annotation: no node is called so
  if (!labelValue.test(value)) return decide(claim, undefined, `${nodeName} cannot be the name of a node`);
  const isWaiting = (claim.spec.volumeName ?? '') === '' && !isCalled(claim, driverName);
  if (isWaiting && !isLabelled(claim)) return keep('kube-controller-manager has not asked for it yet');
  return decide(claim, value, `node ${nodeName} is selected`);
}

/**
 * The same for a PV, by its nodeAffinity; one that does not say which node it is on is left as it is. A node has nothing to do with a
 * PV that is not bound yet, and kube-controller-manager is about to write it.
 */
export function decideVolumeLabel(volume: PersistentVolume, driverName: string): LabelDecision {
  if (volume.spec.csi?.driver !== driverName || !isOfDriver(volume, driverName)) {
    return keep("it is another driver's");
  }
  const value = topologyValueOf(volume);
  if (value === undefined || !labelValue.test(value))
    return keep(`its nodeAffinity does not name one node by ${nodeTopologyKey}`);
  const phase = volume.status?.phase ?? 'Pending';
  if ((phase === 'Pending' || phase === 'Available') && !isLabelled(volume)) {
    return keep(`phase ${phase}`);
  }
  return decide(volume, value, `its nodeAffinity names ${value}`);
}

function isLabelled({ metadata }: KubeObject): boolean {
  return metadata.labels?.[nodeLabel] !== undefined;
}

function decide({ metadata }: KubeObject, wanted: string | undefined, reason: string): LabelDecision {
  if (metadata.labels?.[nodeLabel] === wanted) return keep(reason);
  return { kind: 'write', value: wanted ?? null, reason };
}

function keep(reason: string): LabelDecision {
  return { kind: 'keep', reason };
}
