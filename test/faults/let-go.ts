import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cloningFinalizer } from '../../src/claims/annotations.ts';
import { uidOf } from '../../src/claims/claim-facts.ts';
import { buildTombstone } from '../../src/claims/tombstone.ts';
import { poolUuidKey } from '../../src/model/volume.ts';
import { eventually } from '../support/eventually.ts';
import { patienceMs } from './campaign.ts';
import type { ClusterActors } from './cluster-actors.ts';
import type { FaultWorld } from './fault-world.ts';
import type { KeptVolume } from './kept-volume.ts';
import { inTime, soon } from './patience.ts';

/** The node is lost, the controller lets a volume of it go, and the node comes back: then nothing of that volume is left. */
export async function letGo(world: FaultWorld, actors: ClusterActors, kept: KeptVolume): Promise<void> {
  const { node, plane, user, poolPath } = world;
  await actors.close(kept);
  await node.powerOff();
  try {
    await endProtection(world, kept);
    await actors.removeClaim(kept);
    const { namespace = '', name } = kept.claim.metadata;
    const { volumeHandle = '', volumeAttributes } = kept.volume.spec.csi ?? {};
    const stone = buildTombstone(
      {
        driverName: user.driverName,
        volumeId: volumeHandle,
        poolUuid: volumeAttributes?.[poolUuidKey] ?? '',
        topologyValue: 'node-a',
        volumeName: kept.volume.metadata.name,
        volumeUid: uidOf(kept.volume),
        claim: { namespace, name, uid: uidOf(kept.claim) },
        letGoAt: new Date().toISOString(),
        why: 'the node is away',
        mayErase: true,
        recreation: 'none',
      },
      namespace,
    );
    await plane.api.create('ConfigMap', stone, soon());
    await user.delete('PersistentVolume', kept.volume);
    await user.edit('PersistentVolume', kept.volume, { metadata: { finalizers: null } });
    await inTime(user.untilGone('PersistentVolume', kept.volume, patienceMs));
    node.powerOn();
    await inTime(user.untilGone('ConfigMap', stone, patienceMs));
    await inTime(
      eventually(
        `volume ${volumeHandle} to be gone`,
        () => !existsSync(join(poolPath, 'volumes', volumeHandle)),
        patienceMs,
      ),
    );
  } finally {
    node.powerOn();
  }
}

/** As the controller does for a node that is away, which may have died before it said that it has copied from the claim's volume. */
async function endProtection({ user }: FaultWorld, { claim }: KeptVolume): Promise<void> {
  const now = await user.find('PersistentVolumeClaim', claim);
  const finalizers = now?.metadata.finalizers?.filter((name) => name !== cloningFinalizer);
  if (finalizers === undefined) return;
  await user.edit('PersistentVolumeClaim', claim, { metadata: { finalizers } });
}
