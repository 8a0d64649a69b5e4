import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim, TypedReference } from '../../../src/kube/objects.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { whyNoGo } from '../../support/go-tools.ts';
import type { LocalNode } from '../../support/local-node.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { installSnapshotKinds, SnapshotController } from '../../support/snapshot-controller.ts';
import { PlacementWorld } from './world.ts';

const soon = () => AbortSignal.timeout(20_000);
const namespace = 'default';
const restoring = 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection';
const fileOf = (node: LocalNode, claim: PersistentVolumeClaim) =>
  join(node.poolPath, 'volumes', volumeNameOf(claim), 'data/hello');
const cloneOf = ({ metadata: { name } }: PersistentVolumeClaim): TypedReference => ({
  kind: 'PersistentVolumeClaim',
  name,
});

/** Node b holds the source and has the least room; the others would be preferred for anything else. */
async function threeNodes(world: PlacementWorld): Promise<LocalNode> {
  await world.addNode('a', 256);
  const source = await world.addNode('b', 128);
  await world.addNode('c', 256);
  return source;
}

/** A claim on node b with a file in it. */
async function written(world: PlacementWorld, source: LocalNode, className: string) {
  const claim = await world.user.createClaim({ className, node: world.nodeName('b') });
  await world.user.untilBound(claim);
  await writeFile(fileOf(source, claim), 'hello');
  return claim;
}

describe.skipIf(!isRoot).each(planeNames)(
  `clones over several nodes on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it.each(['Immediate', 'WaitForFirstConsumer'] as const)(
      'are made where their source is, and are their own (%s)',
      async (volumeBindingMode) => {
        await using world = await PlacementWorld.open(plane);
        const { user } = world;
        const source = await threeNodes(world);
        const className = await user.createClass({ volumeBindingMode });
        await world.untilPublished(className, 3);
        await world.addController();
        const claim = await written(world, source, className);
        const clone = await user.createClaim({
          className,
          size: '20Mi',
          spec: { dataSource: cloneOf(claim) },
        });
        const volume = await user.untilBound(clone);
        expect(volume.metadata.labels?.['loam.dev/node']).toBe(world.nodeName('b'));
        expect(volume.spec.capacity).toEqual({ storage: '20Mi' });
        expect(await readFile(fileOf(source, clone), 'utf8')).toBe('hello');
        await writeFile(fileOf(source, clone), 'changed');
        expect(await readFile(fileOf(source, claim), 'utf8')).toBe('hello');
        await user.deleteClaimAndVolume(claim);
        expect(await readFile(fileOf(source, clone), 'utf8')).toBe('changed');
        await user.deleteClaimAndVolume(clone);
        await world.world.assertNothingLeft();
      },
    );

    it('come back from a node that the scheduler chose without knowing', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const source = await threeNodes(world);
      const className = await user.createClass();
      await world.untilPublished(className, 3);
      const claim = await written(world, source, className);
      const clone = await user.createClaim({
        className,
        node: world.nodeName('a'),
        spec: { dataSource: cloneOf(claim) },
      });
      await user.untilEvent(
        clone,
        'NodeUnselected',
        new RegExp(`is on node ${world.nodeName('b')}, and a copy`),
      );
      await world.addController();
      await user.untilBound(clone);
      expect(await readFile(fileOf(source, clone), 'utf8')).toBe('hello');
      await user.deleteClaimAndVolume(clone);
      await user.deleteClaimAndVolume(claim);
      await world.world.assertNothingLeft();
    });

    it('that are too small, or of what is not there, are refused with the reason and made when that is right', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const source = await threeNodes(world);
      const className = await user.createClass({ volumeBindingMode: 'Immediate' });
      await world.untilPublished(className, 3);
      await world.addController();
      const claim = await written(world, source, className);
      const small = await user.createClaim({ className, size: '8Mi', spec: { dataSource: cloneOf(claim) } });
      await user.untilEvent(
        small,
        'ProvisioningFailed',
        /has 16 MiB, the claim asks for 8 MiB.* ask for as much/,
      );
      const later = await user.createClaim({
        className,
        spec: { dataSource: { kind: 'PersistentVolumeClaim', name: 'to-come' } },
      });
      await user.untilEvent(later, 'ProvisioningFailed', /claim default\/to-come is not there/);
      const came = await user.createClaim({ className, name: 'to-come' });
      await user.untilBound(came);
      await user.untilBound(later, 90_000);
      await user.delete('PersistentVolumeClaim', small);
      for (const each of [later, came, claim]) await user.deleteClaimAndVolume(each);
      await world.world.assertNothingLeft();
    });

    it('are taken by the node that has the source where nobody places', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      const source = await threeNodes(world);
      for (const letter of ['a', 'b', 'c']) expect(world.disks.has(letter)).toBe(true);
      const className = await user.createClass();
      const claim = await written(world, source, className);
      const clone = await user.createClaim({
        className,
        node: world.nodeName('b'),
        spec: { dataSource: cloneOf(claim) },
      });
      await user.untilBound(clone);
      expect(await readFile(fileOf(source, clone), 'utf8')).toBe('hello');
      await user.deleteClaimAndVolume(clone);
      await user.deleteClaimAndVolume(claim);
    });
  },
);

const noGo = await whyNoGo();
const why = isRoot ? (noGo === undefined ? '' : ` (skipped: ${noGo})`) : mountsNeedRoot;

describe.skipIf(why !== '')(
  `restores over several nodes, with external-snapshotter's snapshot-controller${why}`,
  () => {
    let plane: ControlPlane;
    let controller: SnapshotController;
    beforeAll(async () => {
      plane = await startControlPlane('real');
      await installSnapshotKinds(plane.kubeconfigPath);
      controller = await SnapshotController.start(plane.kubeconfigPath);
    });
    afterAll(async () => {
      await controller?.[Symbol.asyncDispose]();
      await plane?.[Symbol.asyncDispose]();
    });

    it('are made where the snapshot is, when the claim that it was taken of is gone', async () => {
      await using world = await PlacementWorld.open(plane);
      const { user } = world;
      world.snapshots = true;
      const source = await threeNodes(world);
      await world.addController();
      const className = await user.createClass({ volumeBindingMode: 'Immediate' });
      const waits = await user.createClass();
      await world.untilPublished(className, 3);
      const claim = await written(world, source, className);
      await plane.api.create(
        'VolumeSnapshotClass',
        {
          metadata: { name: 'copies' },
          driver: user.driverName,
          deletionPolicy: 'Delete',
          parameters: { consistency: 'accept' },
        },
        soon(),
      );
      const snapshot = await plane.api.create(
        'VolumeSnapshot',
        {
          metadata: { name: 'monday', namespace },
          spec: {
            volumeSnapshotClassName: 'copies',
            source: { persistentVolumeClaimName: claim.metadata.name },
          },
        },
        soon(),
      );
      // asked for before there is anything to restore
      const dataSource = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'monday' };
      const early = await user.createClaim({ className, spec: { dataSource } });
      const volume = await user.untilBound(early, 90_000);
      expect(volume.metadata.labels?.['loam.dev/node']).toBe(world.nodeName('b'));
      await user.deleteClaimAndVolume(claim);

      const late = await user.createClaim({ className: waits, size: '32Mi', spec: { dataSource } });
      const larger = await user.untilBound(late);
      expect(larger.metadata.labels?.['loam.dev/node']).toBe(world.nodeName('b'));
      expect(larger.spec.capacity).toEqual({ storage: '32Mi' });
      for (const each of [early, late]) expect(await readFile(fileOf(source, each), 'utf8')).toBe('hello');
      await eventually('the snapshot to be let go', async () => {
        const { finalizers = [] } = (await user.find('VolumeSnapshot', snapshot))?.metadata ?? {};
        if (finalizers.includes(restoring)) throw new NotYet(String(finalizers));
        return true;
      });
      await user.delete('VolumeSnapshot', snapshot);
      await user.untilGone('VolumeSnapshot', snapshot);
      for (const each of [early, late]) await user.deleteClaimAndVolume(each);
      await world.world.assertNothingLeft();
    });
  },
);
