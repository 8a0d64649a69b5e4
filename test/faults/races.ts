import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { decideUndelete } from '../../src/cli/undelete/decide-undelete.ts';
import type { PersistentVolume } from '../../src/kube/objects.ts';
import { eventually } from '../support/eventually.ts';
import type { ClusterActors } from './cluster-actors.ts';
import { outage } from './fault-maker.ts';
import type { FaultWorld } from './fault-world.ts';
import { type KeptVolume, Lost } from './kept-volume.ts';
import { inTime, soon } from './patience.ts';

export type Race = (world: FaultWorld, actors: ClusterActors) => Promise<void>;

const namespace = 'default';
const retainedUntil = 'loam.dev/retained-until';
/** longer than the driver takes to hear of a change */
const heardMs = 1000;
/** longer than the driver takes to begin what it should not */
const temptationMs = 3000;

/** What a driver believes that looks too early or at the wrong thing, and what is so: in each of these somebody else's bytes are at stake. */
export const races: Readonly<Record<string, Race>> = {
  'an admin clears the claimRef after the mark and before the last look': async (world, actors) => {
    const { plane, user } = world;
    const kept = await withBytes(actors, 'delete');
    // the look at the claim, which comes after the mark, is held up
    plane.embedded.faults.slowDown(temptationMs, { verb: 'get', kind: 'PersistentVolumeClaim' });
    const volume = await actors.removeClaim(kept);
    await inTime(
      eventually('the mark', async () => {
        const now = await user.find('PersistentVolume', volume);
        return now?.metadata.annotations?.['loam.dev/reclaiming'] !== undefined;
      }),
    );
    // nor does a watch tell
    plane.embedded.faults.stallWatches(true);
    const again = await actors.undelete(kept);
    await hold(world, again);
    await world.heal();
    await actors.open(again);
  },

  'a retention ends, as the driver believes, after the volume was given back': async (world, actors) => {
    const { plane, user } = world;
    const kept = await withBytes(actors, 'retain-for');
    await actors.remove(kept);
    await user.edit('PersistentVolume', kept.volume, {
      metadata: { annotations: { [retainedUntil]: inAWhile() } },
    });
    await sleep(heardMs);
    plane.embedded.faults.stallWatches(true);
    const again = await actors.undelete(kept);
    await actors.open(again);
    await actors.write(again);
    await actors.close(again);
    const before = await user.find('PersistentVolume', again.volume);
    await hold(world, again);
    const after = await user.find('PersistentVolume', again.volume);
    // the mark holds only for the PV as it was judged
    if (after?.metadata.resourceVersion !== before?.metadata.resourceVersion)
      throw new Error(`the PV of another claim was written to: ${JSON.stringify(after?.metadata)}`);
    await world.heal();
    await actors.open(again);
  },

  'a PV of a living claim is said to be Released, and the claim was not heard of': async (world, actors) => {
    const { plane, user } = world;
    const kept = await withBytes(actors, 'retain-for');
    await actors.remove(kept);
    const { faults } = plane.embedded;
    faults.answerNext(500, { verb: 'watch', kind: 'PersistentVolumeClaim' }, 1e6);
    faults.answerNext(500, { verb: 'list', kind: 'PersistentVolumeClaim' }, 1e6);
    faults.dropWatches('PersistentVolumeClaim');
    await user.edit('PersistentVolume', kept.volume, {
      metadata: { annotations: { 'loam.dev/retain-for': null } },
    });
    const again = await actors.undelete(kept);
    await actors.open(again);
    await actors.write(again);
    await actors.close(again);
    await plane.pauseBinder();
    await user.edit('PersistentVolume', again.volume, { status: { phase: 'Released' } }, 'status');
    await hold(world, again);
    await user.edit('PersistentVolume', again.volume, { status: { phase: 'Bound' } }, 'status');
    await plane.resumeBinder();
    await world.heal();
    await actors.open(again);
  },

  'another PV was put over the data of one that is being deleted, unheard': async (world, actors) => {
    const { plane, user } = world;
    const kept = await withBytes(actors, 'retain-for');
    await actors.remove(kept);
    await user.delete('PersistentVolume', kept.volume);
    await user.edit('PersistentVolume', kept.volume, {
      metadata: { annotations: { [retainedUntil]: inAWhile() } },
    });
    await sleep(heardMs);
    plane.embedded.faults.stallWatches(true);
    const successor = await succeed(world, kept);
    actors.retained.delete(kept);
    const again = await actors.claimAgain({ ...kept, volume: successor }, kept.claim.metadata.name);
    await actors.open(again);
    await actors.write(again);
    await actors.close(again);
    await hold(world, again);
    await world.heal();
    await inTime(user.untilGone('PersistentVolume', kept.volume));
    await actors.open(again);
  },

  'the API is away for long, and has forgotten the past when it is back': async (world, actors) => {
    const [used, closed, removed] = await Promise.all([
      withBytes(actors, 'delete'),
      withBytes(actors, 'retain-for'),
      withBytes(actors, 'scrub'),
    ]);
    await actors.open(used);
    const away = outage(world);
    // pods go on without it
    await actors.write(used);
    await actors.close(used);
    await actors.open(used);
    await actors.open(closed);
    await Promise.all([away, actors.remove(removed), actors.create('delete'), actors.changeMind('delete')]);
  },
};

async function withBytes(actors: ClusterActors, kind: KeptVolume['kind']): Promise<KeptVolume> {
  const kept = await actors.create(kind);
  await actors.open(kept);
  await actors.write(kept);
  await actors.close(kept);
  return kept;
}

/** The first step of an undelete of a PV that is being deleted; the second, which lets that one go, is not done. */
async function succeed({ plane, user }: FaultWorld, kept: KeptVolume): Promise<PersistentVolume> {
  const volume = await user.find('PersistentVolume', kept.volume);
  const target = { namespace, name: kept.claim.metadata.name };
  const { driverName } = user;
  const decision = volume && decideUndelete({ volume, others: [], target, claim: undefined, driverName });
  if (decision?.kind !== 'succeed') throw new Error(`an undelete would ${decision?.kind}`);
  return plane.api.create('PersistentVolume', decision.successor, soon());
}

/** @throws Lost as soon as the data is not where it was, in the time in which a driver that looks too early destroys it */
async function hold({ poolPath }: FaultWorld, { volume }: KeptVolume): Promise<void> {
  const handle = volume.spec.csi?.volumeHandle ?? '';
  const endMs = performance.now() + temptationMs + heardMs;
  while (performance.now() < endMs) {
    if (!existsSync(join(poolPath, 'volumes', handle)))
      throw new Lost(`volume ${handle} was destroyed, and is somebody's`);
    await sleep(20);
  }
}

function inAWhile(): string {
  return new Date(Date.now() + temptationMs).toISOString();
}
