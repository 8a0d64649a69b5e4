import { describe, expect, it } from 'vitest';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { budgetMsOf, codeCache, isLong, seed, throughAll } from './campaign.ts';
import { checkEmptied, checkWorld, kindOf } from './check-world.ts';
import { ClusterActors } from './cluster-actors.ts';
import { FaultMaker } from './fault-maker.ts';
import { backendNames, FaultWorld } from './fault-world.ts';
import { History } from './history.ts';
import { Lots } from './lots.ts';
import { count, none, type Totals } from './totals.ts';

const why = whyNoScratchPool('xfs');
const cachePath = codeCache();
const users = 3;
const operationsEach = 12;
const budgetMs = budgetMsOf(30);
/** with FAULTS_SEED of a failure: that history alone */
const isReplay = process.env['FAULTS_REPLAY'] === '1';

describe.skipIf(why !== '')(`random histories under faults${why}`, () => {
  it(
    `what was acknowledged is there, nothing is left over, nothing waits for ever`,
    { timeout: isLong ? 7_600_000 : 600_000 },
    async () => {
      const seeds = Array.from({ length: isReplay ? 1 : 2000 }, (_, at) => seed + at);
      const failures: string[] = [];
      let operations = 0;
      const done = await throughAll(seeds, budgetMs, async (own) => {
        const { said, error, totals } = await live(own);
        count(totals);
        operations += totals.operations;
        if (error === undefined) return;
        count({ [kindOf(error) ?? 'otherwise']: 1 });
        const failure = `FAULTS_SEED=${own} FAULTS_REPLAY=1: ${error.name}: ${error.message}\n${said}`;
        console.log(failure);
        failures.push(failure);
      });
      console.log(`${done} histories from seed ${seed} on, ${operations} operations`);
      expect(failures, failures.join('\n')).toEqual([]);
    },
  );
});

interface Lived {
  readonly totals: Totals;
  /** what the users did last */
  readonly said: string;
  readonly error?: Error;
}

async function live(own: number): Promise<Lived> {
  const lots = new Lots(own);
  const backend = backendNames[own % backendNames.length] ?? 'directory';
  await using world = await FaultWorld.open({ backend, cachePath });
  const actors = new ClusterActors(world);
  const histories = Array.from(
    { length: users },
    (_, at) => new History(world, actors, new Lots(own * 100 + at), at === 0),
  );
  let faults: FaultMaker | undefined;
  const lived = async (error?: Error): Promise<Lived> => ({
    totals: {
      ...none,
      histories: 1,
      operations: histories.reduce((sum, { operations }) => sum + operations, 0),
      kills: world.node.deaths,
      apiFaults: faults?.apiFaults ?? 0,
      commandFaults: world.commands.met,
      diskFaults: world.node.diskFaultsMet,
    },
    said: histories.map(({ said }) => said.slice(-6).join(', ')).join('; '),
    ...(error === undefined ? {} : { error }),
  });
  try {
    await world.untilUp();
    const freeBytes = await world.freeBytes();
    const making = new FaultMaker(world, lots);
    faults = making;
    try {
      await Promise.all(histories.map((history) => history.run(operationsEach)));
    } finally {
      await making.stop();
    }
    await checkWorld(world, actors);
    await checkEmptied(world, actors, freeBytes);
    return await lived();
  } catch (error) {
    console.log(world.node.logTail());
    return await lived(error instanceof Error ? error : new Error(String(error)));
  }
}
