import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inParallel } from '../../bench/claims.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { Life } from '../../unit/provisioner/life.ts';
import { LostClaim } from './lost-claim.ts';

/** Everything that changes something, Events too. */
const writes = ['create', 'patch', 'remove'];
/** One more than there are: the last life sees it through. */
const mostWrites = 13;

describe.each(planeNames)('recreate-empty on the %s control plane', (planeName) => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane(planeName);
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  it('gets a claim off a node that is gone past pvc-protection and pv-protection', async () => {
    const lost = new LostClaim(plane, `lost-${planeName}`);
    await lost.make('recreate-empty 1s');
    const beganMs = performance.now();
    lost.lookAfter();
    await lost.untilOver();
    console.log(
      `${planeName}: made anew after ${Math.round(performance.now() - beganMs)} ms, 1 s of it grace`,
    );
    const claim = await lost.claim();
    if (claim === undefined) throw new Error('there is no claim');
    await lost.user.untilEvent(claim, 'RecreatedEmpty', /Lost to it is all that was in volume lost-/);
    await lost.end();
  });

  it('with release-after leaves the claim, and lets the PV go once it is deleted', async () => {
    const lost = new LostClaim(plane, `let-go-${planeName}`);
    await lost.make('release-after 1s');
    lost.lookAfter();
    const claim = await lost.claim();
    if (claim === undefined) throw new Error('there is no claim');
    await lost.user.untilEvent(claim, 'NodeLost', 'bring the node back, or give the data up');
    const pod = { namespace: 'default', name: lost.name };
    await lost.user.delete('PersistentVolumeClaim', claim);
    await plane.api.remove('Pod', pod, AbortSignal.timeout(5_000), { gracePeriodSeconds: 0 });
    await lost.user.untilGone('PersistentVolume', { metadata: { name: lost.name } }, 40_000);
    expect(await lost.claim()).toBeUndefined();
    expect((await lost.tombstones()).map(({ data }) => data?.['erase'])).toEqual(['yes']);
    await lost.end();
  });

  it('is seen through whichever of its writes a controller is killed before or after', async () => {
    const lives = [false, true].flatMap((isAfter) =>
      [...Array(mostWrites).keys()].map((count) => ({ isAfter, count })),
    );
    const deaths = await inParallel(lives, 6, async ({ isAfter, count }) => {
      const lost = new LostClaim(plane, `crash-${planeName}-${isAfter ? 'after' : 'before'}-${count}`);
      await lost.make('recreate-empty 1s');
      const life = new Life(count, isAfter);
      lost.lookAfter(life.wrap(plane.api, writes));
      await eventually(
        `the death of ${lost.name}, or its end`,
        async () => {
          if (life.isOver) return true;
          await lost.isOver();
          return true;
        },
        40_000,
      );
      const isDead = life.isOver;
      lost.lookAfter();
      await lost.untilOver();
      const claim = await lost.claim();
      await eventually(`the event of ${lost.name}`, async () => {
        const told = claim === undefined ? [] : await lost.user.eventsOf(claim);
        if (told.some(({ reason }) => reason === 'RecreatedEmpty')) return true;
        throw new NotYet(`heard ${JSON.stringify(told)}`);
      });
      await lost.end();
      return isDead;
    });
    const died = deaths.filter(Boolean).length;
    console.log(`${planeName}: ${lives.length} lives, ${died} of them ended by a kill`);
    expect(died).toBeGreaterThan(15);
  });
});
