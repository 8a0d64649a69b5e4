import type { ObjectMeta, PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { parseQuantity } from '../model/quantity.ts';

export type Labels = Readonly<Record<string, string>>;

/** The class that a claim asks for; the beta annotation is read first. */
export function classNameOf(claim: PersistentVolumeClaim): string {
  return (
    claim.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ??
    claim.spec.storageClassName ??
    ''
  );
}

/** Whether a PV's claimRef means this claim: same name and namespace, and no uid yet or the same. */
export function isMeantFor(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const { claimRef } = volume.spec;
  if (claimRef === undefined || claimRef === null) return false;
  if (claimRef.name !== claim.metadata.name || claimRef.namespace !== claim.metadata.namespace) return false;
  return (claimRef.uid ?? '') === '' || claimRef.uid === claim.metadata.uid;
}

/** Why a PV that a claim names cannot serve it, or undefined where it can. */
export function mismatchOf(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (sizeOf(volume) < requestOf(claim)) return 'requested PV is too small';
  if ((volume.spec.storageClassName ?? '') !== classNameOf(claim)) return 'storageClassName does not match';
  if (modeOf(volume) !== modeOf(claim)) return 'incompatible volumeMode';
  if (!hasModes(volume, claim)) return 'incompatible accessMode';
  return undefined;
}

/** Whether Filesystem meets Block. */
export function modesDiffer(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return modeOf(volume) !== modeOf(claim);
}

/**
 * The PV for a claim that names none: one reserved for it if there is, else the smallest Available one that fits.
 *
 * @param node labels and name of the node where the claim's pod is to run; unset: any node, and then
 * @param onlyReserved leaves free PVs to the scheduler, as WaitForFirstConsumer wants it
 */
export function findBestMatch(
  volumes: Iterable<PersistentVolume>,
  claim: PersistentVolumeClaim,
  options: {
    readonly onlyReserved: boolean;
    readonly node?: { readonly name: string; readonly labels: Labels };
  },
): PersistentVolume | undefined {
  let best: PersistentVolume | undefined;
  for (const volume of volumes) {
    if (!couldServe(volume, claim)) continue;
    const isOnNode = options.node === undefined || admitsNode(volume, options.node);
    if (isMeantFor(volume, claim)) return isOnNode ? volume : undefined;
    if (options.onlyReserved || !isOnNode || volume.spec.claimRef) continue;
    if (volume.status?.phase !== 'Available' || !isOffered(volume, claim)) continue;
    if (best === undefined || sizeOf(volume) < sizeOf(best)) best = volume;
  }
  return best;
}

function couldServe(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return (
    volume.metadata.deletionTimestamp === undefined &&
    sizeOf(volume) >= requestOf(claim) &&
    modeOf(volume) === modeOf(claim) &&
    (volume.spec.volumeAttributesClassName ?? '') === (claim.spec.volumeAttributesClassName ?? '') &&
    hasModes(volume, claim)
  );
}

function isOffered(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return (volume.spec.storageClassName ?? '') === classNameOf(claim) && selects(claim, volume.metadata);
}

/** Whether the PV's nodeAffinity lets it be used on a node. */
export function admitsNode(
  volume: PersistentVolume,
  node: { readonly name: string; readonly labels: Labels },
): boolean {
  const terms = volume.spec.nodeAffinity?.required?.nodeSelectorTerms;
  if (terms === undefined) return true;
  return terms.some(
    (term) =>
      (term.matchExpressions ?? []).every((expression) => holds(expression, node.labels)) &&
      (term.matchFields ?? []).every((expression) => holds(expression, { 'metadata.name': node.name })),
  );
}

interface Expression {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

function holds({ key, operator, values = [] }: Expression, labels: Labels): boolean {
  const value = labels[key];
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    default:
      return false;
  }
}

function selects(claim: PersistentVolumeClaim, { labels = {} }: ObjectMeta): boolean {
  const { selector } = claim.spec;
  if (selector === undefined) return true;
  const hasLabels = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return (
    hasLabels &&
    (selector.matchExpressions ?? []).every((expression) => holds(expression as Expression, labels))
  );
}

function hasModes(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return (claim.spec.accessModes ?? []).every((mode) => volume.spec.accessModes?.includes(mode));
}

function modeOf(object: PersistentVolume | PersistentVolumeClaim): string {
  return object.spec.volumeMode ?? 'Filesystem';
}

export function sizeOf(volume: PersistentVolume): bigint {
  return parseQuantity(volume.spec.capacity?.['storage'] ?? '0');
}

export function requestOf(claim: PersistentVolumeClaim): bigint {
  return parseQuantity(claim.spec.resources?.requests?.['storage'] ?? '0');
}
