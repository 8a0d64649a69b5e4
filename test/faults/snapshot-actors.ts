import { eventually, NotYet } from '../support/eventually.ts';
import { patienceMs } from './campaign.ts';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import { type KeptSnapshot, type KeptVolume, volumeModeOf } from './kept-volume.ts';
import { inTime, soon } from './patience.ts';

const namespace = 'default';
const beingDeleted = 'snapshot.storage.kubernetes.io/volumesnapshot-being-deleted';
const contentFinalizer = 'snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection';

let count = 0;

/** Of what is on the volume now; external-snapshotter's controller writes what belongs to it. */
export async function takeSnapshot(
  { plane, user, snapshotClass }: FaultWorld,
  actors: ClusterActors,
  kept: KeptVolume,
): Promise<KeptSnapshot> {
  count += 1;
  const name = `snapshot-${count}`;
  const { files, sizeMiB, isBlock = false } = kept;
  const spec = {
    volumeSnapshotClassName: snapshotClass,
    source: { persistentVolumeClaimName: kept.claim.metadata.name },
  };
  const snapshot = await plane.api.create('VolumeSnapshot', { metadata: { name, namespace }, spec }, soon());
  const { uid = '' } = snapshot.metadata;
  const content = await plane.api.create(
    'VolumeSnapshotContent',
    {
      metadata: { name: `snapcontent-${uid}`, finalizers: [contentFinalizer] },
      spec: {
        deletionPolicy: 'Delete',
        driver: user.driverName,
        source: { volumeHandle: kept.volume.spec.csi?.volumeHandle ?? '' },
        sourceVolumeMode: volumeModeOf(kept),
        volumeSnapshotClassName: snapshotClass,
        volumeSnapshotRef: { namespace, name, uid },
      },
    },
    soon(),
  );
  const ready = await inTime(
    eventually(
      `snapshot ${name} to be ready`,
      async () => {
        const now = await user.find('VolumeSnapshotContent', content);
        if (now?.status?.readyToUse === true) return now;
        throw new NotYet(JSON.stringify(now?.status));
      },
      patienceMs,
    ),
  );
  const status = {
    boundVolumeSnapshotContentName: content.metadata.name,
    readyToUse: true,
    restoreSize: `${sizeMiB}Mi`,
  };
  await user.edit('VolumeSnapshot', snapshot, { status }, 'status');
  const taken: KeptSnapshot = { snapshot, content: ready, files, sizeMiB, isBlock };
  actors.snapshots.add(taken);
  return taken;
}

export async function removeSnapshot(
  { user }: FaultWorld,
  actors: ClusterActors,
  kept: KeptSnapshot,
): Promise<void> {
  actors.snapshots.delete(kept);
  await user.delete('VolumeSnapshot', kept.snapshot);
  await inTime(user.untilGone('VolumeSnapshot', kept.snapshot, patienceMs));
  await user.edit('VolumeSnapshotContent', kept.content, {
    metadata: { annotations: { [beingDeleted]: 'yes' } },
  });
  await user.delete('VolumeSnapshotContent', kept.content);
  await inTime(user.untilGone('VolumeSnapshotContent', kept.content, patienceMs));
}
