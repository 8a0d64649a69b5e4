import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { isReason } from '../model/errors.ts';
import { parseQuantity } from '../model/quantity.ts';
import { nodeTopologyKey, type Segments } from '../model/topology.ts';
import { poolUuidKey } from '../model/volume.ts';
import * as annotations from './annotations.ts';
import { classNameOf, requestedBytes, uidOf } from './claim-facts.ts';

/** This node and driver, as decisions need to know them. */
export interface OwnSide {
  readonly driverName: string;
  readonly nodeName: string;
  readonly topologyValue: string;
  readonly segments: Segments;
  /** the driver is Loam's own: it writes records that say which claim a volume is for */
  readonly ownDriver: boolean;
}

/** What a volume on disk is, apart from any PV. */
export interface VolumeIdentity {
  readonly volumeId: string;
  /** unset where the driver has no pools */
  readonly poolUuid?: string | undefined;
}

/** Whether a PV stands for exactly this volume: driver, handle and pool. Which claim it names says nothing about whose data it is. */
export function standsFor(volume: PersistentVolume, identity: VolumeIdentity, driverName: string): boolean {
  const csi = volume.spec.csi;
  if (csi?.driver !== driverName || csi.volumeHandle !== identity.volumeId) return false;
  return identity.poolUuid === undefined || csi.volumeAttributes?.[poolUuidKey] === identity.poolUuid;
}

/** The pool that a PV names; '': none. */
export function poolUuidOf({ spec }: PersistentVolume): string {
  return spec.csi?.volumeAttributes?.[poolUuidKey] ?? '';
}

/** Whether two pools' uuids may mean one pool: a PV that a person wrote without the uuid means whatever has the handle. */
export function mayBeSamePool(one: string, other: string): boolean {
  return one === '' || other === '' || one === other;
}

/** Whether a PV's claimRef names this claim, or reserves the volume for any claim of its name. */
export function namesClaim(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const ref = volume.spec.claimRef;
  if (ref === undefined || ref === null) return false;
  if (ref.namespace !== claim.metadata.namespace || ref.name !== claim.metadata.name) return false;
  return ref.uid === undefined || ref.uid === '' || ref.uid === uidOf(claim);
}

/** Whether claim and PV name each other. */
export function isBoundTo(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const ref = volume.spec.claimRef;
  if (ref === undefined || ref === null || volume.metadata.name !== claim.spec.volumeName) return false;
  const { namespace, name } = claim.metadata;
  return ref.namespace === namespace && ref.name === name && ref.uid === uidOf(claim);
}

/** Whether nobody has this volume yet, or will not in a moment: a new static PV is Pending until its controller has seen it. */
export function isFree(volume: PersistentVolume): boolean {
  const phase = volume.status?.phase ?? 'Pending';
  if (phase !== 'Available' && phase !== 'Pending') return false;
  return (volume.spec.claimRef ?? undefined) === undefined && volume.metadata.deletionTimestamp === undefined;
}

export function classNameOfVolume(volume: PersistentVolume): string {
  return volume.metadata.annotations?.[annotations.betaStorageClass] ?? volume.spec.storageClassName ?? '';
}

/** Whether kube-controller-manager could bind this free volume to the claim instead of calling a provisioner. */
export function fitsClaim(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  if (!isFree(volume) || classNameOfVolume(volume) !== classNameOf(claim)) return false;
  if ((volume.spec.volumeMode ?? 'Filesystem') !== (claim.spec.volumeMode ?? 'Filesystem')) return false;
  if ((volume.spec.volumeAttributesClassName ?? '') !== (claim.spec.volumeAttributesClassName ?? ''))
    return false;
  const modes = volume.spec.accessModes ?? [];
  if (!(claim.spec.accessModes ?? []).every((mode) => modes.includes(mode))) return false;
  try {
    return parseQuantity(volume.spec.capacity?.['storage'] ?? '0') >= requestedBytes(claim);
  } catch (error) {
    // more than can be counted, which no volume has
    if (isReason(error, 'size-out-of-range')) return false;
    throw error;
  }
}

/** Whether a PV belongs to the driver: by who provisioned it, or where nobody did, by its CSI source. */
export function isOfDriver(volume: PersistentVolume, driverName: string): boolean {
  const noted = volume.metadata.annotations;
  const by = noted?.[annotations.provisionedBy];
  if (by === undefined) return volume.spec.csi?.driver === driverName;
  return by === driverName || noted?.[annotations.migratedTo] === driverName;
}

/**
 * Whether a PV lies on this node, by its nodeAffinity. A driver of other people uses topology keys of its own: then the label that
 * this loop put on its PVs decides.
 */
export function isOnNode(volume: PersistentVolume, own: OwnSide): boolean {
  const terms = volume.spec.nodeAffinity?.required?.nodeSelectorTerms ?? [];
  const admitted = terms.some(({ matchExpressions: expressions = [], matchFields = [] }) => {
    if (expressions.length === 0 || matchFields.length > 0) return false;
    return expressions.every(
      ({ key, operator, values = [] }) => operator === 'In' && values.includes(own.segments[key] ?? ''),
    );
  });
  if (admitted || own.ownDriver) return admitted;
  const usesOurKey = terms.some(
    (term) => term.matchExpressions?.some(({ key }) => key === nodeTopologyKey) ?? false,
  );
  return !usesOurKey && volume.metadata.labels?.[annotations.nodeLabel] === own.topologyValue;
}

/** The one value of our topology key that a PV's nodeAffinity admits; undefined: none, several, or other conditions besides. */
export function topologyValueOf({ spec }: PersistentVolume): string | undefined {
  const values = new Set<string>();
  for (const { matchExpressions = [], matchFields = [] } of spec.nodeAffinity?.required?.nodeSelectorTerms ??
    []) {
    const isPlain = matchExpressions.every(
      ({ key, operator }) => key === nodeTopologyKey && operator === 'In',
    );
    if (!isPlain || matchExpressions.length === 0 || matchFields.length > 0) return undefined;
    for (const { values: admitted = [] } of matchExpressions) for (const each of admitted) values.add(each);
  }
  const [value] = values;
  return values.size === 1 ? value : undefined;
}
