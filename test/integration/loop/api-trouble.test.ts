import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { ApiFaultProxy, type RequestMatch } from '../../support/api-fault-proxy.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const createsVolume: RequestMatch = { method: 'POST', path: /\/persistentvolumes/ };
const writesPhase: RequestMatch = { method: 'PATCH', path: /\/persistentvolumes\/[^/]+\/status/ };
const marksVolume: RequestMatch = { method: 'PATCH', path: /\/persistentvolumes\/[^/]+$/ };
const deletesVolume: RequestMatch = { method: 'DELETE', path: /\/persistentvolumes\// };
const looksClaimUp: RequestMatch = { method: 'GET', path: /\/persistentvolumeclaims\/[^/?]+$/ };
const lists: RequestMatch = {
  method: 'GET',
  path: /\/(persistentvolume(claim)?s|storageclasses)\?(?!.*watch=true)/,
};
const watches: RequestMatch = { method: 'GET', path: /watch=true/ };

/** One claim's whole life while the API server answers as it does on bad days. */
describe.skipIf(!isRoot).each(planeNames)(
  `with an API server in trouble, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    const answers = [409, 410, 429, 500, 503].map((status) => ({ status, what: `answers ${status}` }));
    it.each([...answers, { status: 0, what: 'does it and the answer is lost' }])(
      'a claim gets its PV and loses it again though the server $what at each write and look-up',
      async ({ status }) => {
        await using proxy = await ApiFaultProxy.start(plane);
        await using world = await LoopWorld.open(plane, 'process', { apiUrl: proxy.url });
        const { user, node } = world;
        const plan = (match: RequestMatch): void => {
          if (status === 0) proxy.loseAnswers(match);
          else proxy.answerNext(status, match, 1, status === 429 ? 1 : undefined);
        };
        const className = await user.createClass();
        plan(createsVolume);
        plan(writesPhase);
        const claim = await user.createClaim({ className, node: 'node-a' });
        await user.untilBound(claim);
        expect(readdirSync(join(node.poolPath, 'volumes'))).toEqual([volumeNameOf(claim)]);
        expect(proxy.faultsMet).toBeGreaterThanOrEqual(1);
        proxy.clear();
        const before = proxy.faultsMet;
        plan(marksVolume);
        plan(looksClaimUp);
        plan(deletesVolume);
        await user.deleteClaimAndVolume(claim, 20_000);
        expect(proxy.faultsMet - before).toBeGreaterThanOrEqual(3);
        await world.assertNothingLeft();
      },
    );

    it('makes one PV and one volume each, though the watches break all the time', async () => {
      await using proxy = await ApiFaultProxy.start(plane);
      await using world = await LoopWorld.open(plane, 'socket', { apiUrl: proxy.url });
      const { user, node } = world;
      const className = await user.createClass();
      const claims: PersistentVolumeClaim[] = [];
      for (let round = 0; round < 3; round += 1) {
        await eventually('claims, volumes and classes to be watched', () =>
          proxy.watches('persistentvolumeclaims', 'persistentvolumes', 'storageclasses'),
        );
        const made = burst(world, className, 5);
        proxy.breakWatches();
        claims.push(...(await made));
      }
      for (const claim of claims) await user.untilBound(claim, 30_000);
      expect(readdirSync(join(node.poolPath, 'volumes')).length).toBe(claims.length);
      for (const claim of claims) {
        await user.delete('PersistentVolumeClaim', claim);
        if (claims.indexOf(claim) % 5 === 0) proxy.breakWatches();
      }
      for (const claim of claims)
        await user.untilGone('PersistentVolume', { metadata: { name: volumeNameOf(claim) } }, 30_000);
      await world.assertNothingLeft();
    });

    it('lists anew when its watches are too old, and misses nothing of meanwhile', async () => {
      await using proxy = await ApiFaultProxy.start(plane);
      await using world = await LoopWorld.open(plane, 'process', { apiUrl: proxy.url });
      const { user } = world;
      const className = await user.createClass();
      const [kept, dropped] = await burst(world, className, 2);
      if (kept === undefined || dropped === undefined) throw new Error('no claims');
      await user.untilBound(kept);
      await user.untilBound(dropped);
      proxy.answerNext(410, watches, 4);
      proxy.answerNext(500, lists, 3);
      proxy.breakWatches();
      await user.delete('PersistentVolumeClaim', dropped);
      const [late] = await burst(world, className, 1);
      if (late === undefined) throw new Error('no claim');
      await user.untilBound(late, 30_000);
      await user.untilGone('PersistentVolume', { metadata: { name: volumeNameOf(dropped) } }, 30_000);
      for (const claim of [kept, late]) await user.deleteClaimAndVolume(claim);
      await world.assertNothingLeft();
    });

    it('tells the claim why its PV cannot be saved, keeps the volume and saves it in the end', async () => {
      await using proxy = await ApiFaultProxy.start(plane);
      await using world = await LoopWorld.open(plane, 'process', { apiUrl: proxy.url });
      const { user, node } = world;
      proxy.answerNext(500, createsVolume, 5);
      const claim = await user.createClaim({ className: await user.createClass(), node: 'node-a' });
      await user.untilEvent(
        claim,
        'ProvisioningFailed',
        `Error saving volume ${volumeNameOf(claim)}; its storage is kept`,
      );
      expect(readdirSync(join(node.poolPath, 'volumes'))).toEqual([volumeNameOf(claim)]);
      await user.untilBound(claim, 20_000);
      await user.deleteClaimAndVolume(claim);
      await world.assertNothingLeft();
    });

    it('serves every claim and every delete that came while the API server went away for seconds', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const className = await user.createClass();
      const old = await burst(world, className, 20);
      for (const claim of old) await user.untilBound(claim);
      const made: PersistentVolumeClaim[] = [];
      const work = (async () => {
        for (const claim of old) {
          await persistently(() => user.delete('PersistentVolumeClaim', claim));
          const name = `${claim.metadata.name}-new`;
          await persistently(() => user.createClaim({ className, node: 'node-a', name }));
          made.push({ ...claim, metadata: { name, namespace: 'default' } });
        }
      })();
      await eventually('the burst to be under way', () => made.length >= 3);
      await plane.takeAway();
      await sleep(2_000);
      await plane.bringBack();
      await work;
      for (const claim of made) await user.untilBound(claim, 45_000);
      for (const claim of old)
        await user.untilGone('PersistentVolume', { metadata: { name: volumeNameOf(claim) } }, 45_000);
      expect(readdirSync(join(world.node.poolPath, 'volumes')).length).toBe(made.length);
      for (const claim of made) await user.delete('PersistentVolumeClaim', claim);
      await world.assertNothingLeft();
    });
  },
);

function burst(world: LoopWorld, className: string, count: number): Promise<PersistentVolumeClaim[]> {
  return Promise.all(
    Array.from({ length: count }, () => world.user.createClaim({ className, node: 'node-a' })),
  );
}

/** As a person does whose kubectl says that the connection was refused. What was done before the answer was lost counts too. */
async function persistently(ask: () => Promise<unknown>): Promise<void> {
  await eventually(
    'the API server to take a request',
    async () => {
      try {
        await ask();
        return true;
      } catch (error) {
        return /already exists|not found/.test(String(error));
      }
    },
    60_000,
  );
}
