import { uidOf } from '../../claims/claim-facts.ts';
import type { Tombstone } from '../../claims/tombstone.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import { mayStandFor } from '../orphans/decide-orphan.ts';

export interface TombstoneFacts {
  readonly stone: Tombstone;
  readonly driverName: string;
  readonly topologyValue: string;
  readonly clusterUid: string | undefined;
  /** uuids of the pools that are open here; undefined: not known now */
  readonly openPools: ReadonlySet<string> | undefined;
  /** what the disks have of that id and pool; undefined: nothing, or only what is in the trash */
  readonly held: HeldVolume | undefined;
  /** every PV with the volume's handle, asked of the API server a moment ago */
  readonly volumes: readonly PersistentVolume[];
  /** whatever claim has the name of the one that the volume was for, asked a moment ago */
  readonly claim: PersistentVolumeClaim | undefined;
}

export type TombstoneDecision =
  /** the data is nobody's: it goes, and then the tombstone */
  | { readonly kind: 'erase'; readonly reason: string }
  /** the data is somebody's after all, or never to be destroyed: only the tombstone goes */
  | { readonly kind: 'drop'; readonly reason: string }
  | { readonly kind: 'wait'; readonly reason: string };

/**
 * What a node that is back does about a volume that was let go without it. Whatever speaks for the data wins: a PV over it, its claim
 * alive, a record that another cluster has taken over.
 */
export function decideTombstone(facts: TombstoneFacts): TombstoneDecision {
  const { stone, openPools, held, volumes, claim, clusterUid } = facts;
  const { volumeId, poolUuid } = stone;
  if (stone.topologyValue !== facts.topologyValue || stone.driverName !== facts.driverName)
    return { kind: 'wait', reason: "it is another node's, or another driver's" };
  if (stone.recreation === 'pending')
    return { kind: 'wait', reason: 'the controller has not seen its claim through' };
  if (!stone.mayErase) return { kind: 'drop', reason: 'its data was not to be destroyed' };
  const standing = volumes.find((volume) => mayStandFor(volume, { volumeId, poolUuid }, facts.driverName));
  if (standing !== undefined)
    return { kind: 'drop', reason: `PersistentVolume ${standing.metadata.name} stands for the data` };
  if (claim !== undefined && uidOf(claim) === stone.claim.uid)
    return { kind: 'wait', reason: 'its claim is alive, and has no PV: a person has to look' };
  if (openPools?.has(poolUuid) !== true) return { kind: 'wait', reason: `pool ${poolUuid} is not there` };
  if (held?.adopt === 'by-name' && claim !== undefined && (claim.spec.volumeName ?? '') === '')
    return { kind: 'drop', reason: 'the claim made anew has no volume yet, and is given this one' };
  if (
    held !== undefined &&
    held.clusterUid !== undefined &&
    clusterUid !== undefined &&
    held.clusterUid !== clusterUid
  )
    return { kind: 'drop', reason: `its record belongs to cluster ${held.clusterUid}` };
  return { kind: 'erase', reason: `${stone.why}, and it was let go at ${stone.letGoAt}` };
}
