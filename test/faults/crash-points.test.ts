import { afterAll, describe, expect, it } from 'vitest';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { budgetMsOf, codeCache, isLong, seed, throughAll } from './campaign.ts';
import { checkEmptied, checkWorld, kindOf } from './check-world.ts';
import { ClusterActors } from './cluster-actors.ts';
import { type CrashPoint, crashPoints } from './crash-points.ts';
import { backendNames, type BackendUnderTest, FaultWorld } from './fault-world.ts';
import type { Step } from './interposer/plan.ts';
import { Lots } from './lots.ts';
import { changingFiles, notPassed } from './places.ts';
import { type Scenario, scenariosOf } from './scenarios.ts';
import type { Kill } from './supervised-node.ts';
import { count } from './totals.ts';

const why = whyNoScratchPool('xfs');
const cachePath = codeCache();
/** of each backend and scenario */
const budgetMs = budgetMsOf(4);
/** `<step>:<moment>[,<step>:<moment>]` instead of all */
const only = process.env['FAULTS_POINT'];
/** the steps alone whose way through the sources has this text, such as `make-volume` */
const place = process.env['FAULTS_PLACE'] ?? '';

describe.skipIf(why !== '')(`kill -9 at every step that touches the disk or the API${why}`, () => {
  const sites = new Set<string>();
  const met = { points: 0, kills: 0 };
  afterAll(() => {
    if (why !== '') return;
    console.log(`${sites.size} places in the sources that write to the disk or the API`);
    const rest = notPassed(changingFiles(), sites);
    console.log(`of these files, which change the API or a disk, no scenario came by: ${rest.join(', ')}`);
    // the order of what is done at once differs from run to run, so that a few late steps are not reached
    if (met.points > 0) expect(met.kills).toBeGreaterThan(met.points / 2);
  });

  describe.each(backendNames)('with %s volumes', (backend) => {
    // another run, another backend
    const isTurn = isLong || backend === backendNames[seed % backendNames.length];
    it.each(scenariosOf(backend, isTurn))(
      '%s: nothing lost, nothing left over, nothing stuck',
      { timeout: isLong ? 7_600_000 : 600_000 },
      async (name, scenario) => {
        const steps = await live(backend, scenario, [], sites);
        // an interposer that sees nothing would find nothing
        const kinds = new Set(steps.map(({ what }) => what.slice(0, what.indexOf(' '))));
        expect([...kinds].sort()).toEqual(['command', 'file', 'request']);
        const points =
          only === undefined
            ? crashPoints(steps, new Lots(seed)).filter(({ step }) => step.site.includes(place))
            : [pointOf(only, steps)];
        const failures: string[] = [];
        let kills = 0;
        const done = await throughAll(points, budgetMs, async ({ step, kills: planned }) => {
          try {
            await live(backend, scenario, planned, sites, (deaths) => (kills += deaths));
          } catch (error) {
            failures.push(describeFailure(step, planned, error));
            console.log(failures.at(-1));
            count({ [kindOf(error) ?? 'otherwise']: 1 });
          }
        });
        count({ crashPoints: done, kills });
        met.points += done;
        met.kills += kills;
        console.log(
          `${backend}, ${name}: ${steps.length} steps at ${new Set(steps.map(({ site }) => site)).size} places; ` +
            `died at ${done} of ${points.length} points, ${kills} kills (FAULTS_SEED=${seed})`,
        );
        expect(failures, failures.join('\n')).toEqual([]);
        // of a few, all may be such that were not reached this time: those count together with the others'
        if (done > 5) expect(kills).toBeGreaterThan(done / 2);
      },
    );
  });
});

/** One life of a pool under the scenario, with these deaths. @returns what the first process did */
async function live(
  backend: BackendUnderTest,
  scenario: Scenario,
  kills: readonly Kill[],
  sites: Set<string>,
  tellDeaths: (count: number) => void = () => {},
): Promise<readonly Step[]> {
  await using world = await FaultWorld.open({ backend, kills, cachePath });
  const actors = new ClusterActors(world);
  try {
    await world.untilUp();
    const freeBytes = await world.freeBytes();
    await scenario(actors, world);
    await checkWorld(world, actors);
    await checkEmptied(world, actors, freeBytes);
    return world.node.stepsOf(0);
  } catch (error) {
    console.log(world.node.logTail());
    throw error;
  } finally {
    tellDeaths(world.node.deaths);
    for (let life = 0; life <= world.node.deaths; life += 1)
      for (const { site } of world.node.stepsOf(life)) sites.add(site);
  }
}

function pointOf(text: string, steps: readonly Step[]): CrashPoint {
  const kills = text.split(',').map((part) => {
    const [at = '', moment = ''] = part.split(':');
    return { at: Number(at), moment: moment as Kill['moment'] };
  });
  const step = steps.find(({ number }) => number === kills[0]?.at);
  if (step === undefined) throw new Error(`there is no step ${text}`);
  return { step, kills };
}

function describeFailure({ what, site }: Step, kills: readonly Kill[], error: unknown): string {
  const point = kills.map(({ at, moment }) => `${at}:${moment}`).join(',');
  return `FAULTS_SEED=${seed} FAULTS_POINT=${point} ${what} (${site}): ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
}
