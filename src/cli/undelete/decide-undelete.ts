import { createHash } from 'node:crypto';
import * as annotations from '../../claims/annotations.ts';
import { dataSourceOf, uidOf } from '../../claims/claim-facts.ts';
import { classNameOfVolume, mayBeSamePool, poolUuidOf } from '../../claims/volume-facts.ts';
import { whyUnfit } from '../../claims/why-unfit.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';

export interface ClaimName {
  readonly namespace: string;
  readonly name: string;
}

/** The cluster as it was just read. */
export interface UndeleteView {
  readonly volume: PersistentVolume;
  /** the other PVs over the same driver and handle */
  readonly others: readonly PersistentVolume[];
  readonly target: ClaimName;
  /** the claim of that name, if there is one */
  readonly claim: PersistentVolumeClaim | undefined;
  readonly driverName: string;
}

/** The next step; after each the cluster is read anew, so that a repeat goes on wherever the last one ended. */
export type UndeleteDecision =
  | { readonly kind: 'refuse'; readonly reason: string }
  /** the volume is offered to the claim of that name and to nobody else */
  | { readonly kind: 'give-back'; readonly patch: object; readonly reason: string }
  /** the PV is being deleted and can never be bound again: another has to stand for the data first */
  | { readonly kind: 'succeed'; readonly successor: PersistentVolume; readonly reason: string }
  /** the other stands: now the one that is going may go, without its data */
  | { readonly kind: 'let-go'; readonly patch: object; readonly successor: string; readonly reason: string }
  | { readonly kind: 'follow'; readonly successor: string; readonly reason: string }
  /** only the claim is missing */
  | { readonly kind: 'claim'; readonly manifest: PersistentVolumeClaim; readonly reason: string }
  /** claim and PV have found one another; or will, by the cluster's binder */
  | { readonly kind: 'done'; readonly isBound: boolean; readonly reason: string };

/** A DNS subdomain's. */
const longestName = 253;
const boundByController = 'pv.kubernetes.io/bound-by-controller';

/** The name of the PV that takes the place of one that is being deleted. One for each: the start of a long name is not its own. */
export function successorName(name: string): string {
  const plain = `${name}-undeleted`;
  if (plain.length <= longestName) return plain;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, 200).replace(/[-.]+$/, '')}-${hash}-undeleted`;
}

/** Whose the volume is to be again: the claim named, else the one that it was last bound to. */
export function targetOf(
  volume: PersistentVolume,
  to: Partial<ClaimName> | undefined,
): ClaimName | undefined {
  const ref = volume.spec.claimRef ?? undefined;
  const namespace = to?.namespace ?? ref?.namespace ?? '';
  const name = to?.name ?? ref?.name ?? '';
  return namespace === '' || name === '' ? undefined : { namespace, name };
}

/** What is to be done next so that a released volume gets back to a claim, with its size and mode; nothing is ever made smaller or larger. */
export function decideUndelete(view: UndeleteView): UndeleteDecision {
  const { volume, target, claim } = view;
  const { name } = volume.metadata;
  const key = `${target.namespace}/${target.name}`;
  const phase = volume.status?.phase ?? 'Pending';
  const notOurs = whyNotOurs(view);
  if (notOurs !== undefined) return { kind: 'refuse', reason: notOurs };
  const isGoing = volume.metadata.deletionTimestamp !== undefined;
  if (!isGoing && claim !== undefined && hasOrGets(claim, volume, target)) {
    const isBound = claim.status?.phase === 'Bound' && claim.spec.volumeName === name;
    const reason = `claim ${key} ${isBound ? 'has' : 'is being bound to'} PersistentVolume ${name}`;
    return { kind: 'done', isBound, reason };
  }
  const notClaim = whyNotClaim(view, key);
  if (notClaim !== undefined) return { kind: 'refuse', reason: notClaim };

  const isGivenBack = isOfferedTo(volume, target) && phase !== 'Bound' && phase !== 'Failed';
  if (phase !== 'Released' && !isGivenBack) return { kind: 'refuse', reason: whyNotReleased(volume, phase) };
  if (isGoing) return decideSuccession(view);
  // an end that is past would count once the volume is released again
  if (isGivenBack && volume.metadata.annotations?.[annotations.retainedUntil] === undefined) {
    const reason = `PersistentVolume ${name} waits for claim ${key}`;
    return claim === undefined
      ? { kind: 'claim', manifest: claimFor(volume, target), reason }
      : { kind: 'done', isBound: false, reason: `${reason}, which is there` };
  }
  const sharer = view.others.find((other) => sharesData(other, volume));
  if (sharer !== undefined) {
    const reason = `PersistentVolume ${sharer.metadata.name} stands for the same data; undelete or remove that one first`;
    return { kind: 'refuse', reason };
  }
  return {
    kind: 'give-back',
    patch: {
      metadata: {
        resourceVersion: volume.metadata.resourceVersion,
        // whoever bound it before: from now on a person says whose it is
        annotations: { [annotations.retainedUntil]: null, [boundByController]: null },
      },
      spec: { claimRef: { ...claimRefFor(target), uid: null, resourceVersion: null } },
    },
    reason: `PersistentVolume ${name} is Released and goes to claim ${key}`,
  };
}

/**
 * A new PV over the same data comes first, since that alone keeps the reclaim loop away; only then the old one's policy becomes Retain, so
 * that it goes and leaves the data. That patch names the version that was looked at: a deletion begun meanwhile is noticed.
 */
function decideSuccession({ volume, others, target }: UndeleteView): UndeleteDecision {
  const { name, resourceVersion } = volume.metadata;
  const wanted = successorName(name);
  const sharers = others.filter((other) => sharesData(other, volume));
  const stranger = sharers.find(({ metadata }) => metadata.name !== wanted);
  if (stranger !== undefined) {
    const reason = `PersistentVolume ${stranger.metadata.name} stands for the same data; undelete or remove that one first`;
    return { kind: 'refuse', reason };
  }
  const successor = sharers[0];
  if (successor === undefined) {
    return {
      kind: 'succeed',
      successor: successorOf(volume, target),
      reason: `PersistentVolume ${name} is being deleted and can never be bound again; ${wanted} takes its place`,
    };
  }
  if (volume.spec.persistentVolumeReclaimPolicy !== 'Retain') {
    return {
      kind: 'let-go',
      patch: { metadata: { resourceVersion }, spec: { persistentVolumeReclaimPolicy: 'Retain' } },
      successor: wanted,
      reason: `${wanted} stands for the data; PersistentVolume ${name} may go without it`,
    };
  }
  return { kind: 'follow', successor: wanted, reason: `${wanted} stands for the data` };
}

function whyNotOurs({ volume, others, driverName }: UndeleteView): string | undefined {
  const { name } = volume.metadata;
  const driver = volume.spec.csi?.driver;
  if (driver !== driverName)
    return `PersistentVolume ${name} is of ${driver === undefined ? 'no CSI driver' : `driver ${driver}`}, not of ${driverName}`;
  if (volume.metadata.annotations?.[annotations.reclaiming] === undefined) return undefined;
  const why = `the data of PersistentVolume ${name} is being destroyed (${annotations.reclaiming}); nothing can be given back`;
  const successor = others.find(({ metadata }) => metadata.name === successorName(name));
  return successor === undefined
    ? why
    : `${why}. That was begun before ${successor.metadata.name} was made: if loam volumes on its node does not list ${volume.spec.csi?.volumeHandle ?? ''} any more, delete that PersistentVolume`;
}

function whyNotReleased({ metadata: { name }, spec }: PersistentVolume, phase: string): string {
  const ref = spec.claimRef ?? undefined;
  const claim = ref === undefined ? 'no claim' : `claim ${ref.namespace ?? ''}/${ref.name ?? ''}`;
  switch (phase) {
    case 'Bound':
      return `PersistentVolume ${name} is Bound to ${claim}; only one whose claim was deleted can be given back. To keep its data when that happens: kubectl patch pv ${name} -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`;
    case 'Failed':
      return `PersistentVolume ${name} is Failed: its deletion was begun, and what is left of its data is not certain; set its policy to Retain and look at the node`;
    default:
      return `PersistentVolume ${name} is ${phase} for ${claim}, not Released; a claim that names it (spec.volumeName) can have it`;
  }
}

/** Why the claim of that name cannot get this volume. */
function whyNotClaim({ volume, claim }: UndeleteView, key: string): string | undefined {
  if (claim === undefined) return undefined;
  const { name } = volume.metadata;
  const bound = claim.spec.volumeName ?? '';
  const another = 'choose another name with --to, or delete that claim first';
  if (claim.metadata.deletionTimestamp !== undefined)
    return `claim ${key} is being deleted; repeat when it is gone, or choose another name with --to`;
  if (bound !== '' && bound !== name && bound !== successorName(name))
    return `claim ${key} has another volume, ${bound}; ${another}`;
  const source = dataSourceOf(claim);
  if (source !== undefined)
    return `claim ${key} asks for data of its own (${source.kind} ${source.name}); ${another}`;
  const difference = whyUnfit(volume, claim);
  return difference === undefined ? undefined : `claim ${key} ${difference}; ${another}`;
}

function isReservedFor({ spec }: PersistentVolume, { namespace, name }: ClaimName): boolean {
  const ref = spec.claimRef ?? undefined;
  return ref?.namespace === namespace && ref.name === name;
}

/** Whether this very claim is bound to it, or is about to be: the binder writes the uid first, then the phase, then the claim. */
function hasOrGets(claim: PersistentVolumeClaim, volume: PersistentVolume, target: ClaimName): boolean {
  const bound = claim.spec.volumeName ?? '';
  return (
    isReservedFor(volume, target) &&
    volume.spec.claimRef?.uid === uidOf(claim) &&
    (bound === '' || bound === volume.metadata.name) &&
    claim.metadata.deletionTimestamp === undefined
  );
}

/** Whether any claim of that name gets it. */
function isOfferedTo(volume: PersistentVolume, target: ClaimName): boolean {
  return isReservedFor(volume, target) && (volume.spec.claimRef?.uid ?? '') === '';
}

/** Whether another PV means the same bytes; one without a pool may. */
function sharesData(other: PersistentVolume, volume: PersistentVolume): boolean {
  if (other.metadata.name === volume.metadata.name || uidOf(other) === uidOf(volume)) return false;
  return mayBeSamePool(poolUuidOf(other), poolUuidOf(volume));
}

function claimRefFor(target: ClaimName): object {
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', ...target };
}

/**
 * The same volume as a new object, reserved for the claim. It is nobody's dynamically provisioned one: with that annotation
 * kube-controller-manager would release it if its claim were bound elsewhere.
 */
function successorOf(volume: PersistentVolume, target: ClaimName): PersistentVolume {
  const {
    [annotations.retainedUntil]: _until,
    [annotations.provisionedBy]: _by,
    [boundByController]: _bound,
    ...kept
  } = volume.metadata.annotations ?? {};
  const { labels } = volume.metadata;
  const isDeleted = volume.spec.persistentVolumeReclaimPolicy === 'Delete';
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: successorName(volume.metadata.name),
      ...(labels === undefined ? {} : { labels: { ...labels } }),
      annotations: kept,
      ...(isDeleted ? { finalizers: [annotations.provisionerFinalizer] } : {}),
    },
    spec: { ...volume.spec, claimRef: claimRefFor(target) },
  };
}

/** The claim that gets the volume, and no other: as large, of the same mode and class, by name. */
export function claimFor(volume: PersistentVolume, { namespace, name }: ClaimName): PersistentVolumeClaim {
  const { accessModes = [], volumeMode = 'Filesystem', volumeAttributesClassName, capacity } = volume.spec;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: {
      accessModes: [...accessModes],
      volumeMode,
      storageClassName: classNameOfVolume(volume),
      ...(volumeAttributesClassName === undefined ? {} : { volumeAttributesClassName }),
      resources: { requests: { storage: capacity?.['storage'] ?? '0' } },
      volumeName: volume.metadata.name,
    },
  };
}
