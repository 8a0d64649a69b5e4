import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../kube/objects.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { adopted } from '../../claims/annotations.ts';
import { claimKey, classNameOf } from '../../claims/claim-facts.ts';
import { readDataSource } from '../../claims/data-source.ts';
import { namesClaim } from '../../claims/volume-facts.ts';
import { decideOrphan, type OrphanSide } from '../orphans/decide-orphan.ts';
import { adoptsByName } from './adopting-class.ts';

/** Of volumes with one name. */
const mostTold = 5;

export interface OfferFacts extends OrphanSide {
  /** the class that the record names */
  readonly storageClass: StorageClass | undefined;
  /** the claim that has the namespace and name that the record names now */
  readonly claim: PersistentVolumeClaim | undefined;
  /** PVs with the volume's handle, of any driver */
  readonly sameHandle: readonly PersistentVolume[];
  /** PVs whose claimRef names the claim's namespace and name, whatever uid it says */
  readonly claimVolumes: readonly PersistentVolume[];
  /** other orphans here that were made for a claim of the same namespace and name, in the order of their ids */
  readonly twins: readonly HeldVolume[];
}

export type OfferDecision =
  /** make it a PV that is reserved for the claim of that name */
  | {
      readonly kind: 'offer';
      readonly claim: ClaimRef;
      readonly storageClass: StorageClass;
      readonly reason: string;
    }
  /** a PV that was offered stands for it: its record has yet to say so */
  | { readonly kind: 'take'; readonly volume: PersistentVolume; readonly reason: string }
  | { readonly kind: 'ambiguous'; readonly reason: string }
  | { readonly kind: 'leave'; readonly reason: string };

/**
 * Whether a volume that nobody stands for is given to the claim of the name that it was made for.
 *
 * One of another cluster is offered at once, before any claim comes: a cluster made anew finds it. One of this cluster lost its PV by
 * somebody's doing, so it is offered only where a claim of that name waits. What does not fit the claim is offered, too: a PV that names
 * it keeps every node from giving it an empty volume in silence.
 */
export function decideOffer(held: HeldVolume, facts: OfferFacts): OfferDecision {
  const whose = decideOrphan(held, facts.sameHandle, facts);
  if (whose.kind === 'owned') {
    const isOurs = facts.clusterUid === undefined || held.clusterUid === facts.clusterUid;
    const isOffered = whose.volume.metadata.annotations?.[adopted] !== undefined;
    return isOurs || !isOffered
      ? leave(whose.reason)
      : { kind: 'take', volume: whose.volume, reason: whose.reason };
  }
  if (held.adopt !== 'by-name') return leave('its class did not say adopt: by-name');
  if (held.isRecycling) return leave('it is being emptied');
  if (!mayHoldData(held)) return leave('it was begun, and nobody ever had it');
  if (whose.kind === 'begun') return leave(whose.reason);
  const { claim: ref, className } = held;
  if (ref === undefined || className === undefined) return leave('its record names no claim and class');
  const { storageClass, claim } = facts;
  if (!adoptsByName(storageClass, facts.driverName) || storageClass.metadata.name !== className)
    return leave(`there is no StorageClass ${className} of ours that says adopt: by-name`);
  if (claim === undefined && !whose.isForeign) return leave(`no claim ${claimKey(ref)} waits for it`);
  const stop = claim === undefined ? undefined : whyNotFor(claim, className);
  if (stop !== undefined) return leave(stop);
  const other = facts.claimVolumes.find((volume) => claim === undefined || namesClaim(volume, claim));
  if (other !== undefined)
    return leave(`PersistentVolume ${other.metadata.name} names claim ${claimKey(ref)}`);
  // one that was never staged is empty: it does not stand in the way of one that was
  if (!held.used && facts.twins.some(({ used }) => used))
    return leave('it is empty, and another of that name is not');
  const rivals = facts.twins.filter((twin) => mayHoldData(twin) && (twin.used || !held.used));
  if (rivals.length > 0) {
    return {
      kind: 'ambiguous',
      reason: `several volumes were made for claim ${claimKey(ref)}: ${tellSome(held, rivals)}; none is chosen: loam adopt the one that is wanted, or loam gc --remove the others`,
    };
  }
  return { kind: 'offer', claim: ref, storageClass, reason: whose.reason };
}

/** Whether it can have been written to. A power cut may take the mark that its PV was seen, never the one that it was staged. */
export function mayHoldData({ acknowledged, used }: HeldVolume): boolean {
  return acknowledged || used;
}

/** Why a claim of the right name does not get the volume; undefined: it may. */
function whyNotFor(claim: PersistentVolumeClaim, className: string): string | undefined {
  const key = claimKey(claim.metadata);
  if (claim.metadata.deletionTimestamp !== undefined) return `claim ${key} is being deleted`;
  if ((claim.spec.volumeName ?? '') !== '') return `claim ${key} has a volume`;
  if (classNameOf(claim) !== className) return `claim ${key} is of another class`;
  // whoever bound it to data of its own would have it silently without what it asked for
  if (readDataSource(claim).kind !== 'empty') return `claim ${key} asks for a copy of something else`;
  return undefined;
}

/** The same text whichever of them is asked about, and no longer than an Event may be. */
function tellSome(held: HeldVolume, rivals: readonly HeldVolume[]): string {
  const first = [held, ...rivals.slice(0, mostTold)]
    .toSorted((left, right) => (left.volumeId < right.volumeId ? -1 : 1))
    .slice(0, mostTold)
    .map(tell);
  const more = rivals.length + 1 - first.length;
  return `${first.join(', ')}${more === 0 ? '' : ` and ${more} more`}`;
}

function tell({ volumeId, poolName, createdAtMs }: HeldVolume): string {
  return `${volumeId} (pool ${poolName}, of ${new Date(createdAtMs).toISOString()})`;
}

function leave(reason: string): OfferDecision {
  return { kind: 'leave', reason };
}
