import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import type { KeptVolume } from './kept-volume.ts';
import { patienceMs } from './campaign.ts';
import { inTime, insistently } from './patience.ts';

/** Somebody deletes the PV of a volume that his class retains: the data stays, and belongs to nobody. */
export async function orphan({ user }: FaultWorld, actors: ClusterActors, kept: KeptVolume): Promise<void> {
  await user.delete('PersistentVolume', kept.volume);
  await inTime(user.untilGone('PersistentVolume', kept.volume, patienceMs));
  actors.retained.delete(kept);
  actors.orphans.add(kept);
}

/** `loam adopt`, to a claim of the name that it had. */
export async function adopt(
  { user, operator }: FaultWorld,
  actors: ClusterActors,
  kept: KeptVolume,
): Promise<KeptVolume> {
  const { name } = kept.claim.metadata;
  const { storageClassName: className = '' } = kept.volume.spec;
  const volumeId = kept.volume.spec.csi?.volumeHandle ?? '';
  await insistently(`orphan ${volumeId} to be adopted`, () =>
    operator.adopt({
      volumeId,
      claim: { namespace: 'default', name },
      className,
      policy: 'Retain',
      apply: true,
    }),
  );
  actors.orphans.delete(kept);
  const volume = (await user.volumes()).find(({ spec }) => spec.csi?.volumeHandle === volumeId);
  if (volume === undefined) throw new Error(`volume ${volumeId} was adopted and has no PV`);
  return actors.claimAgain({ ...kept, volume }, name);
}
