import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import type { LocalNode } from '../../support/local-node.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { assertPoolEmpty } from '../../support/pool-leftovers.ts';
import { PlacementWorld } from '../placement/world.ts';
import { podOn } from './lost-claim.ts';

const parameters = { backend: 'directory', limit: 'advisory' };

async function bound(
  world: PlacementWorld,
  onNodeLoss?: string,
): Promise<{
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume;
  readonly note: string;
}> {
  const { user } = world;
  const more = onNodeLoss === undefined ? {} : { onNodeLoss };
  const className = await user.createClass({ parameters: { ...parameters, ...more } });
  const claim = await user.createClaim({ className, node: world.nodeName('a'), size: '4Mi' });
  const volume = await user.untilBound(claim);
  const pool = join(world.disks.get('a')?.path ?? '', 'pool');
  const note = join(pool, 'volumes', volume.spec.csi?.volumeHandle ?? '', 'data', 'note');
  writeFileSync(note, 'of the first claim');
  return { claim, volume, note };
}

/** The machine is dead, and its Node object is deleted. */
async function lose(world: PlacementWorld, node: LocalNode): Promise<void> {
  await node.stop();
  await world.cluster.leave(world.nodeName('a'));
}

async function comeBack(world: PlacementWorld): Promise<void> {
  await world.cluster.join(world.nodeName('a'));
  await world.startNode('a', false);
}

async function tombstonesOf(world: PlacementWorld): Promise<number> {
  const list = { namespace: world.namespace, labelSelector: 'loam.dev/tombstone' };
  return (await world.world.plane.api.list('ConfigMap', list, AbortSignal.timeout(5_000))).items.length;
}

async function untilNoTombstone(world: PlacementWorld): Promise<void> {
  await eventually('the tombstones to be done with', async () => {
    const left = await tombstonesOf(world);
    if (left > 0) throw new NotYet(`${left} left`);
    return true;
  });
}

describe.skipIf(!isRoot).each(planeNames)(
  `a node that dies, and comes back, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('leaves everything as it was unless something else was asked for', async () => {
      await using world = await PlacementWorld.open(plane);
      const node = await world.addNode('a', 64, false);
      const { claim, volume, note } = await bound(world);
      await world.addController('controller', ['--leader-elect=false', '--node-loss=recreate']);
      await lose(world, node);
      const other = await world.addNode('b', 64, false);
      // the controller has had time for what would have been done at once
      const served = await world.user.createClaim({
        className: await world.user.createClass({ parameters }),
        node: other.nodeName,
        size: '4Mi',
      });
      await world.user.untilBound(served);
      await comeBack(world);
      const now = await world.user.find('PersistentVolume', volume);
      expect(now?.metadata.annotations).toEqual(volume.metadata.annotations);
      expect((await world.user.find('PersistentVolumeClaim', claim))?.status?.phase).toBe('Bound');
      expect(existsSync(note)).toBe(true);
      for (const each of [claim, served]) await world.user.deleteClaimAndVolume(each, 30_000);
    });

    it('finds that its claim was made anew elsewhere, and destroys what was given up', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const node = await world.addNode('a', 64, false);
      await world.addNode('b', 64, false);
      const { claim, volume, note } = await bound(world, 'recreate-empty 2s');
      const pod = podOn(claim.metadata.name, world.nodeName('a'), claim.metadata.name);
      await plane.api.create('Pod', pod, AbortSignal.timeout(5_000));
      let controller = await world.addController('controller', [
        '--leader-elect=false',
        '--node-loss=recreate',
      ]);
      await lose(world, node);
      const key = { metadata: { name: claim.metadata.name, namespace: 'default' } };
      // killed at what can be seen from outside: the mark, the tombstone, the claim on its way
      const sights = [
        async () =>
          (await user.find('PersistentVolume', volume))?.metadata.annotations?.['loam.dev/node-lost-since'],
        async () => (await tombstonesOf(world)) > 0,
        async () =>
          (await user.find('PersistentVolumeClaim', claim))?.metadata.deletionTimestamp !== undefined,
      ];
      for (const [index, sight] of sights.entries()) {
        await eventually(
          `sight ${index}`,
          async () => {
            const later = (await user.find('PersistentVolumeClaim', claim)) === undefined;
            return later || ((await sight()) ?? false) !== false;
          },
          40_000,
        );
        await controller.kill();
        controller = await world.addController(`controller-${index}`, [
          '--leader-elect=false',
          '--node-loss=recreate',
        ]);
      }
      const fresh = await eventually(
        'the claim made anew',
        async () => {
          const now = await user.find('PersistentVolumeClaim', key);
          if (now === undefined || now.metadata.uid === claim.metadata.uid)
            throw new NotYet(`uid ${now?.metadata.uid}`);
          return now;
        },
        60_000,
      );
      await user.untilGone('PersistentVolume', volume, 40_000);
      expect(await user.find('Pod', { metadata: pod.metadata })).toBeUndefined();
      await user.untilEvent(fresh, 'RecreatedEmpty', world.nodeName('a'), 30_000);
      await user.selectNode(fresh, world.nodeName('b'));
      await user.untilBound(fresh);
      expect(existsSync(note)).toBe(true);
      expect(await tombstonesOf(world)).toBe(1);

      await comeBack(world);
      await untilNoTombstone(world);
      expect(existsSync(note)).toBe(false);
      await assertPoolEmpty(join(world.disks.get('a')?.path ?? '', 'pool'));
      await user.deleteClaimAndVolume(fresh, 30_000);
    });

    it('keeps what an admin has made a PV for meanwhile', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const node = await world.addNode('a', 64, false);
      const { claim, volume, note } = await bound(world, 'release-after 2s');
      await world.addController('controller', ['--leader-elect=false', '--node-loss=recreate']);
      await lose(world, node);
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolume', volume, 60_000);
      expect(await tombstonesOf(world)).toBe(1);
      const { claimRef: _, ...spec } = volume.spec;
      const name = `rescued-${planeName}`;
      const rescued = await plane.api.create(
        'PersistentVolume',
        { metadata: { name }, spec: { ...spec, persistentVolumeReclaimPolicy: 'Retain' } },
        AbortSignal.timeout(5_000),
      );
      await comeBack(world);
      await untilNoTombstone(world);
      expect(existsSync(note)).toBe(true);
      await user.delete('PersistentVolume', rescued);
    });

    it('set up anew under its old name says that the old disk is missing, and no more', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const node = await world.addNode('a', 64, false);
      const { claim, volume, note } = await bound(world);
      await node.stop();
      await world.world.addNode({
        nodeName: world.nodeName('a'),
        pools: [`p=${join(world.disks.get('a')?.path ?? '', 'another')},reserved=0%`],
        tombstoneNamespace: world.namespace,
        immediate: false,
        waits: { missingPoolsEveryMs: 1_000 },
      });
      await user.untilEvent(volume, 'PoolMissing', 'has no pool', 20_000);
      const marked = await user.find('PersistentVolume', volume);
      expect(marked?.metadata.annotations?.['loam.dev/pool-missing']).toMatch(/Z$/);
      expect(existsSync(note)).toBe(true);
      await world.world.node.stop();
      await world.startNode('a', false);
      await eventually('the pool not to be missed', async () => {
        const now = await user.find('PersistentVolume', volume);
        return now?.metadata.annotations?.['loam.dev/pool-missing'] === undefined;
      });
      await user.deleteClaimAndVolume(claim, 30_000);
    });
  },
);
