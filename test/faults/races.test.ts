import { describe, expect, it } from 'vitest';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { codeCache } from './campaign.ts';
import { checkEmptied, checkWorld, kindOf } from './check-world.ts';
import { ClusterActors } from './cluster-actors.ts';
import { FaultWorld } from './fault-world.ts';
import { races } from './races.ts';
import { count } from './totals.ts';

const why = whyNoScratchPool('xfs');
const cachePath = codeCache();

describe.skipIf(why !== '')(`a driver that believes what is not so any more${why}`, () => {
  it.concurrent.each(Object.entries(races))('%s: the bytes are there', async (_, race) => {
    await using world = await FaultWorld.open({ backend: 'directory', cachePath });
    const actors = new ClusterActors(world);
    try {
      await world.untilUp();
      const freeBytes = await world.freeBytes();
      await race(world, actors);
      count({ races: 1 });
      await checkWorld(world, actors);
      await checkEmptied(world, actors, freeBytes);
    } catch (error) {
      count({ [kindOf(error) ?? 'otherwise']: 1 });
      console.log(world.node.logTail());
      throw error;
    }
    expect(world.node.deaths).toBe(0);
  });
});
