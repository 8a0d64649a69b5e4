import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inParallel } from '../../bench/claims.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { PlacementWorld } from './world.ts';

const burstSize = 60;

describe.skipIf(!isRoot)(`controllers that come and go, on the real control plane${mountsNeedRoot}`, () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane('real');
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  it(`gives each of ${burstSize} claims one volume when the leader is killed in the middle of them`, async () => {
    await using world = await PlacementWorld.open(plane);
    const { user } = world;
    for (const letter of ['a', 'b', 'c']) await world.addNode(letter, 256);
    const className = await user.createClass({ volumeBindingMode: 'Immediate' });
    await world.untilPublished(className, 3);
    const first = await world.addController('first');
    await world.untilLeads(first);
    const second = await world.addController('second');
    const { text } = await second.status();
    expect(text).toContain('[+] placement');
    const claims = inParallel([...Array(burstSize).keys()], 4, () =>
      user.createClaim({ className, size: '2Mi' }),
    );
    await eventually('some claims to be placed', async () => {
      const placed = /loam_placements_total\{outcome="placed"\} (\d+)/.exec(await first.metrics())?.[1];
      return Number(placed ?? 0) >= burstSize / 6;
    });
    await first.kill();
    const killedMs = performance.now();
    const made = await claims;
    // what was placed goes on without any controller
    const counts = await world.untilAllBound(made, 60_000);
    const tookMs = performance.now() - killedMs;
    console.log(
      `all ${burstSize} Bound ${tookMs.toFixed(0)} ms after the leader was killed: ${JSON.stringify([...counts])}`,
    );
    await world.untilLeads(second);
    await inParallel(made, 8, (claim) => user.deleteClaimAndVolume(claim, 30_000));
    await world.world.assertNothingLeft();
  });

  it('goes on where it was after the API server was away for longer than the Lease', async () => {
    await using world = await PlacementWorld.open(plane);
    const { user } = world;
    await world.addNode('a', 64);
    const className = await user.createClass({ volumeBindingMode: 'Immediate' });
    await world.untilPublished(className, 1);
    const controller = await world.addController();
    await world.untilLeads(controller);
    await plane.takeAway();
    try {
      await eventually(
        'the controller to stop leading',
        async () => {
          const { ok, text } = await controller.status();
          if (ok || (await world.leads(controller))) throw new NotYet(text);
          return true;
        },
        20_000,
      );
    } finally {
      await plane.bringBack();
    }
    const claim = await user.createClaim({ className });
    await user.untilBound(claim, 60_000);
    await user.deleteClaimAndVolume(claim, 30_000);
  });

  it('are one with the node where one process is all there is', async () => {
    await using world = await PlacementWorld.open(plane);
    const { user } = world;
    const name = world.nodeName('only');
    const node = await world.cluster.join(name);
    await using all = await LoamProcess.start({
      role: 'all',
      folder: join(world.world.folder, 'all'),
      pools: [`p=${join(world.world.folder, 'all-pool')}`],
      kubeconfigPath: plane.kubeconfigPath,
      nodeName: node.metadata.name,
      flags: [`--driver-name=${user.driverName}`, `--namespace=${world.namespace}`],
    });
    const claim = await user.createClaim({
      className: await user.createClass({ volumeBindingMode: 'Immediate' }),
    });
    await user.untilBound(claim);
    expect(await world.selectedNodeOf(claim)).toBe(name);
    expect(await all.metrics()).toContain('loam_placements_total{outcome="placed"} 1');
    await user.deleteClaimAndVolume(claim);
  });
});
