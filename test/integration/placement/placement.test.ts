import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inParallel } from '../../bench/claims.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { assertPoolEmpty, poolLeftovers } from '../../support/pool-leftovers.ts';
import { PlacementWorld } from './world.ts';

describe.skipIf(!isRoot).each(planeNames)(
  `placement on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('serves Immediate claims over three nodes by what each has left, and says which is larger than all', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      for (const [letter, sizeMiB] of [
        ['a', 64],
        ['b', 128],
        ['c', 256],
      ] as const)
        await world.addNode(letter, sizeMiB);
      const className = await user.createClass({ volumeBindingMode: 'Immediate' });
      await world.untilPublished(className, 3);
      await world.addController();
      const claims = await inParallel([...Array(12).keys()], 4, () =>
        user.createClaim({ className, size: '20Mi' }),
      );
      const counts = await world.untilAllBound(claims);
      const on = (letter: string) => counts.get(world.nodeName(letter)) ?? 0;
      expect(on('a')).toBeLessThan(on('b'));
      expect(on('b')).toBeLessThan(on('c'));
      for (const claim of claims) {
        const { metadata } = (await user.find('PersistentVolumeClaim', claim)) ?? claim;
        expect(metadata.labels?.['loam.dev/node']).toBe(await world.selectedNodeOf(claim));
      }

      const large = await user.createClaim({ className, size: '10Gi' });
      const { message } = await user.untilEvent(large, 'ProvisioningFailed', 'no node has 10 GiB');
      for (const letter of ['a', 'b', 'c'])
        expect(message).toMatch(new RegExp(`${world.nodeName(letter)} has \\d`));
      expect(await world.selectedNodeOf(large)).toBeUndefined();
      await user.delete('PersistentVolumeClaim', large);
      await inParallel(claims, 4, (claim) => user.deleteClaimAndVolume(claim, 30_000));
      await world.world.assertNothingLeft();
    });

    it('moves a claim on from a node that turns out to be full, and leaves nothing there', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const full = await world.addNode('a', 64, false);
      await world.addNode('b', 128, false);
      const className = await user.createClass({
        volumeBindingMode: 'Immediate',
        parameters: { backend: 'loopback', provisioning: 'thick' },
      });
      // by its own word node a has more than it has
      await world.publish('a', className, '1Gi');
      await world.publish('b', className, '200Mi');
      await world.addController();
      const claim = await user.createClaim({ className, size: '80Mi' });
      const volume = await user.untilBound(claim);
      expect(volume.metadata.labels?.['loam.dev/node']).toBe(world.nodeName('b'));
      await user.untilEvent(claim, 'ProvisioningFailed', /failed to provision/);
      await assertPoolEmpty(full.poolPath);

      // nor does a claim that neither can have go to and fro
      const second = await user.createClaim({ className, size: '80Mi' });
      await user.untilEvent(
        second,
        'ProvisioningFailed',
        /no node has 80 MiB .*by its own count but could not make/,
      );
      await sleep(2_000);
      const failures = (await user.eventsOf(second)).filter(({ reason }) => reason === 'ProvisioningFailed');
      expect(failures.length).toBeLessThanOrEqual(4);
      await user.delete('PersistentVolumeClaim', second);
      await user.deleteClaimAndVolume(claim);
      await world.world.assertNothingLeft();
    });

    it('has the other replica take over at once where one is told to end', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      await world.addNode('a', 64);
      const className = await user.createClass({ volumeBindingMode: 'Immediate' });
      await world.untilPublished(className, 1);
      const first = await world.addController('first');
      await world.untilLeads(first);
      const second = await world.addController('second');
      await first.terminate();
      expect(first.exitCode).toBe(0);
      await world.untilLeads(second, 5_000);
      const claim = await user.createClaim({ className });
      await user.untilBound(claim);
      await user.deleteClaimAndVolume(claim);
    });

    it('frees the claim of a deleted Node, and the node that comes back undoes what it had begun', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const lost = await world.addNode('a', 64);
      const other = await world.addNode('b', 64);
      const className = await user.createClass();
      await world.addController('controller', ['--unreachable-after=1h']);
      const gate = lost.driver.holdNextCreate();
      const claim = await user.createClaim({ className, node: world.nodeName('a') });
      await gate.reached;
      // the process ends with the volume made and no PV
      const stopped = lost.stop();
      gate.open();
      await stopped;
      expect(poolLeftovers(lost.poolPath)).toContain(`volumes/${volumeNameOf(claim)}`);
      await world.cluster.leave(world.nodeName('a'));
      await user.untilUnselected(claim);
      await user.untilEvent(claim, 'NodeUnselected', `node ${world.nodeName('a')} is not there any more`);

      await user.selectNode(claim, world.nodeName('b'));
      const volume = await user.untilBound(claim);
      expect(volume.metadata.labels?.['loam.dev/node']).toBe(world.nodeName('b'));
      await world.cluster.join(world.nodeName('a'));
      await world.startNode('a');
      await assertPoolEmpty(lost.poolPath);
      const kept = await user.findVolume(claim);
      expect(kept?.metadata.uid).toBe(volume.metadata.uid);
      expect(poolLeftovers(other.poolPath)).toContain(`volumes/${volumeNameOf(claim)}`);
      await user.deleteClaimAndVolume(claim);
      await world.world.assertNothingLeft();
    });

    it('frees claims of nodes that have been away for the limit, and not before', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const [a, b] = [world.nodeName('a'), world.nodeName('b')];
      for (const name of [a, b]) await world.cluster.join(name);
      const className = await user.createClass();
      await world.addController('controller', ['--unreachable-after=3s']);
      const claims = [
        await user.createClaim({ className, node: a }),
        await user.createClaim({ className, node: b }),
      ] as const;
      // an upgrade of the DaemonSet
      await world.cluster.setDriver(b, false);
      await sleep(1_000);
      await world.cluster.setDriver(b, true);
      await world.cluster.setReady(a, false);
      await user.untilUnselected(claims[0]);
      expect(await world.selectedNodeOf(claims[1])).toBe(b);
      const startMs = performance.now();
      await world.cluster.setDriver(b, false);
      await user.untilUnselected(claims[1]);
      expect(performance.now() - startMs).toBeGreaterThan(2_900);
      await user.untilEvent(claims[1], 'NodeUnselected', /has not had the driver for 3s/);
      for (const claim of claims) await user.delete('PersistentVolumeClaim', claim);
    });

    it('takes the room of a node without the driver for none, until the process is back and says what there is', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const name = world.nodeName('a');
      const node = await world.addNode('a', 64);
      const className = await user.createClass();
      await world.untilPublished(className, 1);
      const before = await world.published(className, 'a');
      await world.addController('controller', ['--unreachable-after=3s']);
      // an upgrade of the DaemonSet
      await node.stop();
      await world.cluster.setDriver(name, false);
      await sleep(1_000);
      await world.startNode('a');
      await world.cluster.setDriver(name, true);
      await sleep(4_000);
      expect(await world.published(className, 'a')).toEqual(before);

      await world.world.nodes.at(-1)?.stop();
      const startMs = performance.now();
      await world.cluster.setDriver(name, false);
      const reason = 'the driver has not been on this node for 3s';
      await world.untilSays(className, 'a', ['0', '0', reason]);
      expect(performance.now() - startMs).toBeGreaterThan(2_900);
      await world.startNode('a');
      await world.cluster.setDriver(name, true);
      await world.untilSays(className, 'a', before);

      // as after a moment in which only kubelet was away
      await user.edit('CSIStorageCapacity', await world.capacityOf(className, 'a'), {
        capacity: '0',
        maximumVolumeSize: '0',
        metadata: { annotations: { 'loam.dev/reason': reason } },
      });
      const changedMs = performance.now();
      await world.untilSays(className, 'a', before);
      expect(performance.now() - changedMs).toBeLessThan(2_000);
    });
  },
);
