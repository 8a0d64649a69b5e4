import type { PersistentVolume } from '../../kube/objects.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import { mayBeSamePool, poolUuidOf } from '../../claims/volume-facts.ts';
import type { ReclaimDecision } from './decide-reclaim.ts';

/**
 * Whether a released PV stands for a volume that this cluster never had. In a cluster made anew PVs are written back from a file, with the
 * uids of claims that were never here: to kube-controller-manager each looks like a claim that was deleted. Once a claim has such a PV
 * its record is taken over, and it is reclaimed as any.
 *
 * @param held what this node's disks have of the PV's handle
 * @returns undefined: it is this cluster's, or nobody can tell
 */
export function decideForeign(
  volume: PersistentVolume,
  held: readonly HeldVolume[],
  clusterUid: string | undefined,
): Extract<ReclaimDecision, { kind: 'unclear' }> | undefined {
  const record = held.find(({ poolUuid }) => mayBeSamePool(poolUuidOf(volume), poolUuid));
  const madeIn = record?.clusterUid;
  if (record === undefined || madeIn === undefined || clusterUid === undefined || madeIn === clusterUid)
    return undefined;
  const { name } = volume.metadata;
  const whose = record.claim === undefined ? '' : ` for claim ${claimKey(record.claim)}`;
  return {
    kind: 'unclear',
    isRecycle: volume.spec.persistentVolumeReclaimPolicy !== 'Delete',
    reason: `volume ${record.volumeId} was made${whose} in another cluster (${madeIn}), and no claim of this one had it yet: its data is kept. loam undelete ${name} gives it to the claim of that name; to have it gone, set the PersistentVolume's policy to Retain, delete it, then loam gc --remove ${record.volumeId}`,
  };
}
