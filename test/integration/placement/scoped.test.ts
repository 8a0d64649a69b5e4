import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject, PersistentVolume } from '../../../src/kube/objects.ts';
import { inParallel } from '../../bench/claims.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { PlacementWorld } from './world.ts';

const nodeLabel = 'loam.dev/node';
type Labelled = 'PersistentVolumeClaim' | 'PersistentVolume';

describe.skipIf(!isRoot).each(planeNames)(
  `watches by label on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    /** Two scoped nodes; the controller is a test's to start. */
    async function openWorld(): Promise<PlacementWorld> {
      const world = await PlacementWorld.open(plane);
      world.scoped = true;
      for (const letter of ['a', 'b']) await world.addNode(letter, 128);
      return world;
    }

    async function labelOf(world: PlacementWorld, kind: Labelled, object: KubeObject) {
      return (await world.user.find(kind, object))?.metadata.labels?.[nodeLabel];
    }

    const takeOff = (world: PlacementWorld, kind: Labelled, object: KubeObject) =>
      world.user.edit(kind, object, { metadata: { labels: { [nodeLabel]: null } } });

    async function untilLabelled(world: PlacementWorld, kind: Labelled, object: KubeObject, letter: string) {
      await eventually(`the label of ${object.metadata.name}`, async () => {
        const label = await labelOf(world, kind, object);
        if (label === world.nodeName(letter)) return true;
        throw new NotYet(String(label));
      });
    }

    async function untilPhase(world: PlacementWorld, volume: PersistentVolume, phase: string) {
      await eventually(`${volume.metadata.name} to be ${phase}`, async () => {
        const found = await world.user.find('PersistentVolume', volume);
        if (found?.status?.phase === phase) return true;
        throw new NotYet(String(found?.status?.phase));
      });
    }

    /** What an admin writes over a volume that is there: no label, no annotation. */
    function byHand(
      over: PersistentVolume,
      parts: {
        readonly name: string;
        readonly policy: 'Delete' | 'Retain';
        readonly claimName?: string;
      },
    ): Promise<PersistentVolume> {
      const { accessModes, capacity, csi, nodeAffinity, storageClassName } = over.spec;
      const spec = { accessModes, capacity, csi, nodeAffinity, storageClassName } as PersistentVolume['spec'];
      if (parts.claimName !== undefined) spec.claimRef = { namespace: 'default', name: parts.claimName };
      spec.persistentVolumeReclaimPolicy = parts.policy;
      return plane.api.create(
        'PersistentVolume',
        { metadata: { name: parts.name }, spec },
        AbortSignal.timeout(10_000),
      );
    }

    it('serve claims of both kinds, a static PV to its end, and leave nothing', async () => {
      await using world = await openWorld();
      const { user } = world;
      const controller = await world.addController('controller', ['--scoped']);
      await world.untilLeads(controller);
      const waiting = await user.createClass();
      const immediate = await user.createClass({ volumeBindingMode: 'Immediate' });
      const retain = await user.createClass({ reclaimPolicy: 'Retain' });
      await world.untilPublished(immediate, 2);
      const claims = await inParallel([...Array(12).keys()], 4, (index) =>
        index % 2 === 0
          ? user.createClaim({ className: immediate })
          : user.createClaim({ className: waiting, node: world.nodeName(index % 4 === 1 ? 'a' : 'b') }),
      );
      const counts = await world.untilAllBound(claims);
      expect([...counts.keys()].toSorted()).toEqual([world.nodeName('a'), world.nodeName('b')]);
      for (const claim of claims) {
        const selected = (await world.selectedNodeOf(claim)) ?? 'nobody';
        expect(await labelOf(world, 'PersistentVolumeClaim', claim)).toBe(selected);
        expect((await user.findVolume(claim))?.metadata.labels?.[nodeLabel]).toBe(selected);
      }

      // data that outlived its PV gets a new one by hand, and goes with that one's claim
      const first = await user.createClaim({ className: retain, node: world.nodeName('a') });
      const old = await user.untilBound(first);
      await user.delete('PersistentVolumeClaim', first);
      await untilPhase(world, old, 'Released');
      await user.delete('PersistentVolume', old);
      await user.untilGone('PersistentVolume', old);
      // the PV first: a claim for one that is not there waits for kube-controller-manager's next round
      const rescued = await byHand(old, { name: 'rescued', policy: 'Delete', claimName: 'rescue' });
      const rescue = await user.createClaim({
        className: retain,
        name: 'rescue',
        spec: { volumeName: 'rescued' },
      });
      await user.untilBound(rescue);
      await untilLabelled(world, 'PersistentVolume', rescued, 'a');
      expect(await labelOf(world, 'PersistentVolumeClaim', rescue)).toBeUndefined();
      await user.delete('PersistentVolumeClaim', rescue);
      await user.untilGone('PersistentVolume', rescued);

      await inParallel(claims, 4, (claim) => user.deleteClaimAndVolume(claim, 30_000));
      await world.world.assertNothingLeft();
    });

    it('lose nothing while the controller is away or a label is, and go on when it is back', async () => {
      await using world = await openWorld();
      const { user } = world;
      const [node] = world.world.nodes;
      const className = await user.createClass();
      const onA = { className, node: world.nodeName('a') };

      // nobody labels it: nothing moves
      const waiting = await user.createClaim(onA);
      await eventually('kube-controller-manager to call for the claim', async () => {
        const found = await user.find('PersistentVolumeClaim', waiting);
        return found?.metadata.annotations?.['volume.kubernetes.io/storage-provisioner'] !== undefined;
      });
      await sleep(500);
      expect(await user.findVolume(waiting)).toBeUndefined();
      const controller = await world.addController('controller', ['--scoped', '--no-leader-elect']);
      await user.untilBound(waiting);

      // the label goes in the middle, and nobody puts it back
      const gate = node?.driver.holdNextCreate();
      const cut = await user.createClaim(onA);
      await gate?.reached;
      await controller.terminate();
      await takeOff(world, 'PersistentVolumeClaim', cut);
      await sleep(300);
      gate?.open();
      const volume = await user.untilBound(cut);
      expect(volumeNameOf(cut)).toBe(volume.metadata.name);

      // bound, and out of the watch: its end is not seen, and nothing is destroyed
      await takeOff(world, 'PersistentVolume', volume);
      await user.delete('PersistentVolumeClaim', cut);
      await untilPhase(world, volume, 'Released');
      await node?.stop();
      await world.startNode('a');
      await sleep(500);
      expect((await user.find('PersistentVolume', volume))?.status?.phase).toBe('Released');

      await world.addController('second', ['--scoped', '--no-leader-elect']);
      await user.untilGone('PersistentVolume', volume);
      await takeOff(world, 'PersistentVolumeClaim', waiting);
      await untilLabelled(world, 'PersistentVolumeClaim', waiting, 'a');
      const kept = await user.untilBound(waiting);
      await takeOff(world, 'PersistentVolume', kept);
      await untilLabelled(world, 'PersistentVolume', kept, 'a');
      await user.deleteClaimAndVolume(waiting);
      await world.world.assertNothingLeft();
    });

    it('do not destroy what a PV without a label stands for, though no controller is there', async () => {
      await using world = await openWorld();
      const { user } = world;
      const controller = await world.addController('controller', ['--scoped', '--no-leader-elect']);
      const className = await user.createClass();
      const claim = await user.createClaim({ className, node: world.nodeName('b') });
      const volume = await user.untilBound(claim);
      await controller.terminate();
      const copy = await byHand(volume, { name: 'copy', policy: 'Retain' });
      await user.delete('PersistentVolumeClaim', claim);
      await untilPhase(world, volume, 'Released');
      await eventually('the PV’s owner to be told', async () => {
        const { items } = await plane.api.list('Event', {}, AbortSignal.timeout(5_000));
        return items.some(({ message }) => message.includes('PersistentVolume copy has the same data'));
      });
      expect(await labelOf(world, 'PersistentVolume', copy)).toBeUndefined();
      expect((await user.find('PersistentVolume', volume))?.status?.phase).toBe('Released');
      await user.delete('PersistentVolume', copy);
      await user.untilGone('PersistentVolume', volume, 30_000);
      await world.world.assertNothingLeft();
    });
  },
);

describe.skipIf(!isRoot)(`the memory of a node in a large cluster${mountsNeedRoot}`, () => {
  const foreign = 3_000;

  it('holds its own claims and PVs only, where it watches by label', async () => {
    await using plane = await startControlPlane('real');
    await using world = await PlacementWorld.open(plane);
    await fill(plane, foreign);
    const figures: string[] = [];
    for (const scoped of [false, true]) {
      await using node = await LoamProcess.start({
        folder: join(world.world.folder, `scoped-${scoped}`),
        pools: [`p=${join(world.world.folder, `pool-${scoped}`)},reserved=0%`],
        kubeconfigPath: plane.kubeconfigPath,
        nodeName: 'large-a',
        flags: [`--driver-name=${world.user.driverName}`, `--scoped=${scoped}`, '--no-capacity'],
      });
      const metrics = await node.metrics();
      const gauge = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1]);
      const held = (kind: Labelled) => gauge(`loam_watched_objects\\{kind="${kind}"\\}`);
      const mebibytes = (name: string) => Math.round(gauge(name) / 1024 / 1024);
      figures.push(
        `--scoped=${scoped}: ${held('PersistentVolumeClaim')} claims and ${held('PersistentVolume')} PVs held, ` +
          `${mebibytes('process_resident_memory_bytes')} MiB resident, ` +
          `${mebibytes('nodejs_heap_size_used_bytes')} MiB of heap`,
      );
      const expected = scoped ? 0 : foreign;
      expect([held('PersistentVolumeClaim'), held('PersistentVolume')]).toEqual([expected, expected]);
    }
    console.log(figures.join('\n'));
  });

  /** Claims and PVs of other nodes, as Loam makes them. */
  async function fill(plane: ControlPlane, count: number): Promise<void> {
    const numbers = Array.from({ length: count }, (_, index) => index);
    await inParallel(numbers, 16, async (index) => {
      const node = `large-${index % 500}-of-others`;
      const labels = { [nodeLabel]: node };
      const signal = AbortSignal.timeout(60_000);
      await plane.api.create(
        'PersistentVolumeClaim',
        {
          metadata: {
            name: `foreign-${index}`,
            namespace: 'default',
            labels,
            annotations: { 'volume.kubernetes.io/selected-node': node },
          },
          spec: {
            accessModes: ['ReadWriteOnce'],
            // of no class that is there, so that nobody works on it
            storageClassName: 'foreign',
            resources: { requests: { storage: '1Gi' } },
          },
        },
        signal,
      );
      const expression = { key: 'topology.loam.dev/node', operator: 'In', values: [node] };
      await plane.api.create(
        'PersistentVolume',
        {
          metadata: { name: `foreign-${index}`, labels },
          spec: {
            accessModes: ['ReadWriteOnce'],
            capacity: { storage: '1Gi' },
            persistentVolumeReclaimPolicy: 'Retain',
            storageClassName: 'foreign-volumes',
            nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [expression] }] } },
            csi: {
              driver: 'foreign.example',
              volumeHandle: `foreign-${index}`,
              volumeAttributes: { 'loam.dev/pool-uuid': '11111111-2222-3333-4444-555555555555' },
            },
          },
        },
        signal,
      );
    });
  }
});
