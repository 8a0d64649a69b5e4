import { setTimeout as sleep } from 'node:timers/promises';
import { isNotFound } from '../../src/kube/api-error.ts';
import type { PersistentVolumeClaim } from '../../src/kube/objects.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { PodMount } from '../support/pod-mount.ts';
import { patienceMs } from './campaign.ts';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import { type KeptVolume, volumeModeOf } from './kept-volume.ts';
import { insistently, inTime } from './patience.ts';

const namespace = 'default';

/**
 * A claim is deleted, and an admin takes the volume back while it is being destroyed: clears the claimRef and makes the claim anew, however
 * far that has come. Either it is too late, and all of it goes; or a pod can use it, and finds all that was there.
 *
 * @returns the volume where it is still there
 */
export async function thinkAgain(
  world: FaultWorld,
  actors: ClusterActors,
  kept: KeptVolume,
  afterMs: number,
): Promise<KeptVolume | undefined> {
  const { user } = world;
  await actors.close(kept);
  await actors.removeClaim(kept);
  await sleep(afterMs);
  const { name } = kept.claim.metadata;
  try {
    await user.edit('PersistentVolume', kept.volume, {
      spec: { claimRef: { namespace, name, uid: null, resourceVersion: null, fieldPath: null } },
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return undefined;
  }
  const claim = await user.createClaim({
    name,
    className: kept.volume.spec.storageClassName ?? '',
    size: `${kept.sizeMiB}Mi`,
    spec: { volumeName: kept.volume.metadata.name, volumeMode: volumeModeOf(kept) },
  });
  const again: KeptVolume = { ...kept, claim };
  const found = await inTime(
    eventually('a pod to use the volume, or its end', () => whatBecame(world, again), patienceMs, 100),
  );
  if (found === 'gone') {
    await user.delete('PersistentVolumeClaim', claim);
    await inTime(user.untilGone('PersistentVolumeClaim', claim, patienceMs));
    await inTime(user.untilGone('PersistentVolume', kept.volume, patienceMs));
    return undefined;
  }
  again.pod = found;
  actors.volumes.add(again);
  await actors.look(again);
  return again;
}

/** @throws NotYet while neither is so */
async function whatBecame(
  { user, kubelet, kubeletPath }: FaultWorld,
  { volume, claim }: KeptVolume,
): Promise<PodMount | 'gone'> {
  const end = await user.find('PersistentVolume', volume);
  // pv-protection keeps it for a claim that was told by an Event to let go
  if (end === undefined || end.metadata.deletionTimestamp !== undefined) return 'gone';
  const now: PersistentVolumeClaim | undefined = await user.find('PersistentVolumeClaim', claim);
  if (now?.status?.phase !== 'Bound') throw new NotYet(`the claim is ${now?.status?.phase}`);
  const pod = new PodMount(kubelet, volume, kubeletPath, `pod-of-${claim.metadata.uid}`);
  try {
    await pod.start();
    return pod;
  } catch (error) {
    // as kubelet does with a pod that cannot start and is deleted
    await insistently(`volume ${volume.metadata.name} to be let go of`, () => pod.stop());
    throw new NotYet(String(error));
  }
}
