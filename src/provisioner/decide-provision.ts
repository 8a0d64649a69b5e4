import type { PersistentVolume, StorageClass } from '../kube/objects.ts';
import type { ControllerCapability } from '../model/csi-driver.ts';
import { calledProvisioner, classNameOf, isCalled, selectedNodeOf } from '../claims/claim-facts.ts';
import { bindsImmediately, classAdmits } from '../claims/class-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import { decideDataSource } from './decide-data-source.ts';
import { decideEarly, type EarlyFacts } from './decide-early.ts';

export interface ProvisionFacts extends EarlyFacts {
  readonly capabilities: ReadonlySet<ControllerCapability>;
  /** the PV of this claim's name, where there is one */
  readonly existing: PersistentVolume | undefined;
  /** why it must not be given an empty volume now; unset: nothing stands against it */
  readonly heldBack?: { readonly reason: string; readonly afterMs: number } | undefined;
}

/**
 * What to do about a claim.
 * `ignore` is final until the claim changes, and what was begun for it is undone; `wait` may still become ours, so that is kept.
 */
export type ProvisionDecision =
  | {
      readonly kind: 'provision';
      readonly storageClass: StorageClass;
      /** what the volume is to be made of; unset: it begins empty */
      readonly source?: SourceRef;
      readonly reason: string;
    }
  | { readonly kind: 'existing'; readonly volume: PersistentVolume; readonly reason: string }
  | { readonly kind: 'ignore'; readonly reason: string }
  | {
      readonly kind: 'wait';
      readonly reason: string;
      readonly looksAgain: boolean;
      /** when; unset: soon */
      readonly afterMs?: number;
    }
  | { readonly kind: 'retry'; readonly reason: string }
  | { readonly kind: 'populator'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly storageClass: StorageClass; readonly reason: string };

/** The order of these checks is upstream's (sig-storage-lib-external-provisioner), with Loam's early way beside the annotation. */
export function decideProvision(facts: ProvisionFacts): ProvisionDecision {
  const { claim, own, storageClass } = facts;
  const bound = claim.spec.volumeName ?? '';
  if (bound !== '') return ignore(`the claim has the volume ${bound}`);

  const called = calledProvisioner(claim);
  const isCalledHere = isCalled(claim, own.driverName);
  if (called !== undefined && !isCalledHere) return ignore(`${called} was asked for this claim`);
  if (claim.metadata.deletionTimestamp !== undefined && !facts.hasIntent) {
    return ignore('the claim is being deleted and nothing was begun for it');
  }
  const node = selectedNodeOf(claim);
  if (node !== undefined && node !== own.nodeName) return ignore(`node ${node} provides this claim`);

  if (storageClass === undefined) return withoutClass(facts, isCalledHere);
  if (storageClass.provisioner !== own.driverName) {
    return ignore(`StorageClass ${storageClass.metadata.name} is ${storageClass.provisioner}'s`);
  }
  if (node === undefined) {
    const stop = decideUnassigned(facts, storageClass);
    if (stop !== undefined) return stop;
  }
  if (facts.existing !== undefined) {
    return {
      kind: 'existing',
      volume: facts.existing,
      reason: `${facts.existing.metadata.name} exists already`,
    };
  }
  // whoever asked for it: its class wants the data that it had before
  if (facts.heldBack !== undefined) return { kind: 'wait', looksAgain: true, ...facts.heldBack };
  if (!isCalledHere) {
    const early = decideEarly(facts);
    if (early.kind === 'not-early') {
      return { kind: 'wait', reason: early.reason, looksAgain: early.because === 'stale-watches' };
    }
  }
  return decideShape(
    facts,
    storageClass,
    isCalledHere ? 'kube-controller-manager asked for it' : 'every condition for going ahead holds',
  );
}

/** A claim that no node was chosen for. */
function decideUnassigned(facts: ProvisionFacts, storageClass: StorageClass): ProvisionDecision | undefined {
  if (!bindsImmediately(storageClass)) return ignore('no node is selected yet: its first pod decides');
  if (!facts.immediateOnThisNode) return ignore('no node is selected yet: placement decides');
  if (!classAdmits(storageClass, facts.own.segments)) {
    return ignore(`allowedTopologies of StorageClass ${storageClass.metadata.name} leave this node out`);
  }
  return undefined;
}

function withoutClass(facts: ProvisionFacts, isCalledHere: boolean): ProvisionDecision {
  const name = classNameOf(facts.claim);
  if (isCalledHere)
    return { kind: 'retry', reason: `StorageClass ${JSON.stringify(name)} is not there; make it` };
  if (name === '') return ignore('the claim has no StorageClass');
  return { kind: 'wait', reason: `StorageClass ${name} is not there yet`, looksAgain: false };
}

/** Whether what the claim asks for can be had from this provisioner at all. */
function decideShape(facts: ProvisionFacts, storageClass: StorageClass, reason: string): ProvisionDecision {
  const { claim, own } = facts;
  const refuse = (reason: string): ProvisionDecision => ({ kind: 'refuse', storageClass, reason });
  const source = decideDataSource(claim, facts.capabilities);
  // a populator fills whatever volume its own claim gets
  if (source.kind === 'populator') return source;
  const contradiction = own.ownDriver
    ? recycleContradiction(storageClass, source.kind !== 'empty')
    : undefined;
  if (contradiction !== undefined) return refuse(contradiction);
  if (source.kind === 'refuse') return refuse(source.reason);
  if ((claim.spec.volumeAttributesClassName ?? '') !== '' && !facts.capabilities.has('MODIFY_VOLUME')) {
    return refuse(
      `volumes of ${own.driverName} have no VolumeAttributesClass; make the claim without volumeAttributesClassName`,
    );
  }
  if (!facts.capabilities.has('CREATE_DELETE_VOLUME'))
    return refuse(`driver ${own.driverName} cannot create volumes`);
  if (claim.spec.selector !== undefined) return refuse('claim Selector is not supported');
  if (!classAdmits(storageClass, own.segments)) {
    return refuse(
      `node ${own.nodeName} was selected, but allowedTopologies of StorageClass ${storageClass.metadata.name} leave it out`,
    );
  }
  return { kind: 'provision', storageClass, ...(source.kind === 'empty' ? {} : { source }), reason };
}

/**
 * What a class with `onRelease: recycle` cannot mean. Its claims with a data source are refused here, where a volume is to be made; one
 * that finds a recycled PV free is bound to that by Kubernetes, without its source (see VolumeRecycling).
 */
function recycleContradiction(
  { metadata, reclaimPolicy = 'Delete', parameters = {} }: StorageClass,
  hasSource: boolean,
): string | undefined {
  if (parameters['onRelease'] !== 'recycle') return undefined;
  if (reclaimPolicy === 'Delete') {
    return `StorageClass ${metadata.name} says reclaimPolicy: Delete and onRelease: recycle, which cannot both be; make the class anew with reclaimPolicy: Retain to have released volumes emptied and offered again, or without onRelease to have them deleted`;
  }
  if (!hasSource) return undefined;
  return `StorageClass ${metadata.name} says onRelease: recycle, and Kubernetes could bind a claim with a data source to one of its empty recycled volumes instead of a copy; use another class for copies`;
}

function ignore(reason: string): ProvisionDecision {
  return { kind: 'ignore', reason };
}
