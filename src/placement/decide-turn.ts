import * as annotations from '../claims/annotations.ts';
import { calledProvisioner, isCalled, selectedNodeOf } from '../claims/claim-facts.ts';
import { bindsImmediately } from '../claims/class-facts.ts';
import { readDataSource, type DataSource, type SourceRef } from '../claims/data-source.ts';
import { fitsClaim, namesClaim } from '../claims/volume-facts.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';

export interface TurnFacts {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass | undefined;
  readonly driverName: string;
  /** the PV of the claim's own name, where there is one */
  readonly existing: PersistentVolume | undefined;
  /** PVs whose claimRef names the claim's namespace and name */
  readonly claimVolumes: readonly PersistentVolume[];
  /** PVs of the claim's class that nobody has */
  readonly freeVolumes: readonly PersistentVolume[];
  /** the nodes take no claim before kube-controller-manager has asked for it (--scoped) */
  readonly afterCallOnly?: boolean;
}

/** What placement has to do with a claim. */
export type Turn =
  | { readonly kind: 'ignore'; readonly reason: string }
  /** a node has to be found for it */
  | { readonly kind: 'place'; readonly storageClass: StorageClass }
  /** its first pod finds the node; all there is to say is that no node could have it */
  | { readonly kind: 'advise'; readonly storageClass: StorageClass }
  /** it is made of something that is on a node already, and can only be made there, whoever would choose otherwise */
  | { readonly kind: 'join'; readonly storageClass: StorageClass; readonly source: SourceRef }
  /** it cannot be had; its owner is told */
  | { readonly kind: 'refuse'; readonly reason: string }
  /** a node has it; all there is to do is to see that the node stays */
  | { readonly kind: 'guard'; readonly nodeName: string };

export function decideTurn(facts: TurnFacts): Turn {
  const { claim, storageClass, driverName } = facts;
  if ((claim.spec.volumeName ?? '') !== '') return ignore('the claim names its volume');
  if (claim.status?.phase !== 'Pending') return ignore("the claim's phase is not Pending");
  if (claim.metadata.deletionTimestamp !== undefined) return ignore('the claim is being deleted');
  if (claim.metadata.annotations?.[annotations.bindCompleted] !== undefined)
    return ignore('the claim was bound before');
  const called = calledProvisioner(claim);
  const isCalledHere = isCalled(claim, driverName);
  if (called !== undefined && !isCalledHere) return ignore(`${called} was asked for this claim`);
  if (storageClass === undefined ? !isCalledHere : storageClass.provisioner !== driverName)
    return ignore('its StorageClass is not ours');
  if (facts.existing !== undefined) return ignore(`${facts.existing.metadata.name} exists already`);
  const reserved = facts.claimVolumes.find((volume) => namesClaim(volume, claim));
  if (reserved !== undefined) return ignore(`${reserved.metadata.name} is reserved for it`);
  const nodeName = selectedNodeOf(claim);
  if (nodeName !== undefined) return { kind: 'guard', nodeName };
  if (storageClass === undefined) return ignore('its StorageClass is not there');
  const source = readDataSource(claim);
  if (source.kind === 'unusable') return { kind: 'refuse', reason: source.reason };
  if (!bindsImmediately(storageClass)) {
    // the scheduler takes a volume that is there before it asks for a new one
    if (claim.spec.selector !== undefined) return ignore('the claim selects its volume by labels');
    if (facts.freeVolumes.some((volume) => fitsClaim(volume, claim)))
      return ignore('a free PersistentVolume fits it');
    if (source.kind === 'snapshot' || source.kind === 'claim') return { kind: 'join', storageClass, source };
    return { kind: 'advise', storageClass };
  }
  return decideImmediate(facts, storageClass, isCalledHere, source);
}

function decideImmediate(
  { claim, freeVolumes, afterCallOnly = false }: TurnFacts,
  storageClass: StorageClass,
  isCalledHere: boolean,
  source: Exclude<DataSource, { kind: 'unusable' }>,
): Turn {
  if (source.kind === 'populator') return ignore(`a populator of ${source.objectKind} has to speak first`);
  // a write that gets in its way would put it off until its next round, 15 seconds later
  if (!isCalledHere && afterCallOnly) return ignore('kube-controller-manager has not asked for it yet');
  // kube-controller-manager may have a volume for it; when it has none it says so, and the claim changes
  if (!isCalledHere && claim.spec.selector !== undefined)
    return ignore('the claim selects its volume by labels');
  if (!isCalledHere && freeVolumes.some((volume) => fitsClaim(volume, claim)))
    return ignore('a free PersistentVolume fits it');
  return source.kind === 'empty' ? { kind: 'place', storageClass } : { kind: 'join', storageClass, source };
}

function ignore(reason: string): Turn {
  return { kind: 'ignore', reason };
}
