import type { ClusterActors } from './cluster-actors.ts';
import type { BackendUnderTest, FaultWorld } from './fault-world.ts';
import { find } from './found-volume.ts';
import { runInlinePod } from './inline-pod.ts';
import { letGo } from './let-go.ts';
import { adopt, orphan } from './orphan-actors.ts';
import { thinkAgain } from './second-thoughts.ts';
import { removeSnapshot, takeSnapshot } from './snapshot-actors.ts';

/** It waits for looks that a node takes each half minute. */
const slowScenario = 'find, lose the node, return';

/** Only images can be given out as devices. */
const blockScenario = 'raw block: write, grow, snapshot, restore, clone, recycle';

export type Scenario = (actors: ClusterActors, world: FaultWorld) => Promise<void>;

/** What is lived on a backend. @param isSlowTurn whether time is there for the slow one */
export function scenariosOf(
  backend: BackendUnderTest,
  isSlowTurn: boolean,
): readonly (readonly [string, Scenario])[] {
  return Object.entries(scenarios).filter(
    ([name]) => (isSlowTurn || name !== slowScenario) && (backend === 'loopback' || name !== blockScenario),
  );
}

/** Short lives of volumes that between them pass every step which touches the disk or the API. */
const scenarios: Readonly<Record<string, Scenario>> = {
  'create, publish, write, grow, unpublish, delete': async (actors) => {
    const volume = await actors.create('delete');
    await actors.open(volume);
    await actors.write(volume);
    await actors.grow(volume, 24);
    await actors.write(volume);
    await actors.close(volume);
    await actors.open(volume);
    await actors.remove(volume);
  },
  'create, and delete at once': (actors) => actors.changeMind('delete'),
  'snapshot, restore, clone, scrub': async (actors, world) => {
    const volume = await actors.create('scrub');
    await actors.open(volume);
    await actors.write(volume);
    const snapshot = await takeSnapshot(world, actors, volume);
    await actors.write(volume);
    const [restored] = await Promise.all([
      actors.create('delete', snapshot),
      actors.create('delete', volume),
    ]);
    await actors.open(restored);
    await actors.remove(volume);
    await removeSnapshot(world, actors, snapshot);
  },
  'recycle, archive, retain, undelete': async (actors) => {
    const [recycled, archived, retained] = await Promise.all([
      actors.create('recycle'),
      actors.create('archive'),
      actors.create('retain-for'),
    ]);
    const all = [recycled, archived, retained];
    for (const volume of all) await actors.open(volume);
    for (const volume of all) await actors.write(volume);
    await Promise.all(all.map((volume) => actors.remove(volume)));
    const again = await Promise.all([actors.reuse(recycled), actors.undelete(retained)]);
    for (const volume of again) await actors.open(volume);
  },
  'orphan, adopt, think again, inline': async (actors, world) => {
    const [left, regretted] = await Promise.all([actors.create('retain'), actors.create('scrub')]);
    for (const volume of [left, regretted]) await actors.open(volume);
    for (const volume of [left, regretted]) await actors.write(volume);
    const inline = runInlinePod(world);
    await actors.remove(left);
    await orphan(world, actors, left);
    const adopted = await adopt(world, actors, left);
    await actors.open(adopted);
    await thinkAgain(world, actors, regretted, 5);
    await inline;
  },
  [slowScenario]: async (actors, world) => {
    const [lost, found] = await Promise.all([actors.create('delete'), find(world, actors)]);
    await actors.open(lost);
    await actors.write(lost);
    await letGo(world, actors, lost);
    await actors.open(found);
    await actors.remove(found);
  },
  [blockScenario]: async (actors, world) => {
    const [volume, recycled] = await Promise.all([
      actors.create('scrub', undefined, true),
      actors.create('recycle', undefined, true),
    ]);
    for (const each of [volume, recycled]) await actors.open(each);
    for (const each of [volume, recycled]) await actors.write(each);
    const snapshot = await takeSnapshot(world, actors, volume);
    await actors.grow(volume, 24);
    await actors.write(volume);
    const [restored] = await Promise.all([
      actors.create('delete', snapshot),
      actors.create('delete', volume),
      actors.remove(recycled),
    ]);
    await actors.open(restored);
    // what is overwritten now is shared with nobody, so that the scrub has something to do
    for (const each of [volume, restored]) await actors.write(each);
    await actors.open(await actors.reuse(recycled));
    await actors.remove(volume);
    await removeSnapshot(world, actors, snapshot);
  },
};
