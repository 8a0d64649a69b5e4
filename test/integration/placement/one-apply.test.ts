import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/kube/objects.ts';
import { type ControlPlane, startScheduledPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { whyNoGo } from '../../support/go-tools.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';
import { installSnapshotKinds, SnapshotController } from '../../support/snapshot-controller.ts';
import { PlacementWorld } from './world.ts';

const soon = () => AbortSignal.timeout(20_000);
const namespace = 'default';
const noGo = await whyNoGo();
const why = isRoot ? (noGo === undefined ? '' : ` (skipped: ${noGo})`) : mountsNeedRoot;
/** A user sees it come up while he looks: no back-off of minutes in any of the parts. */
const patienceMs = 30_000;

function podWith(name: string, claimName: string): Pod {
  const spec = {
    // no kubelet ends it
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'c', image: 'none' }],
    volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }],
  };
  return { metadata: { name, namespace }, spec };
}

describe.skipIf(why !== '')(`a claim, its snapshot, a restore and their pods in one apply${why}`, () => {
  let plane: ControlPlane;
  let controller: SnapshotController;
  beforeAll(async () => {
    plane = await startScheduledPlane();
    await installSnapshotKinds(plane.kubeconfigPath);
    controller = await SnapshotController.start(plane.kubeconfigPath);
  });
  afterAll(async () => {
    await controller?.[Symbol.asyncDispose]();
    await plane?.[Symbol.asyncDispose]();
  });

  /** In the order in which a file lists them, or with the restore before what it is made of. */
  it.each(['in order', 'restore first'] as const)('come up together, on one node: %s', async (order) => {
    await using world = await PlacementWorld.open(plane);
    const { user } = world;
    world.snapshots = true;
    for (const letter of ['a', 'b', 'c']) {
      await world.addNode(letter, 128);
      const room = { cpu: '4', memory: '8Gi', pods: '110' };
      const body = { status: { allocatable: room, capacity: room } };
      const name = world.nodeName(letter);
      await plane.api.patch('Node', { name }, { type: 'merge', body }, soon(), 'status');
    }
    await world.addController();
    const className = await user.createClass();
    await world.untilPublished(className, 3);
    const [first, second, monday] = ['first', 'second', 'monday'].map(
      (name) => `${name}-${order.replace(' ', '-')}`,
    ) as [string, string, string];
    const snapshotClass = `one-apply-${order.replace(' ', '-')}`;
    const make = {
      claim: () => user.createClaim({ className, name: first }),
      pod: () => plane.api.create('Pod', podWith(first, first), soon()),
      snapshotClass: () =>
        plane.api.create(
          'VolumeSnapshotClass',
          {
            metadata: { name: snapshotClass },
            driver: user.driverName,
            deletionPolicy: 'Delete',
            parameters: { consistency: 'accept' },
          },
          soon(),
        ),
      snapshot: () =>
        plane.api.create(
          'VolumeSnapshot',
          {
            metadata: { name: monday, namespace },
            spec: {
              volumeSnapshotClassName: snapshotClass,
              source: { persistentVolumeClaimName: first },
            },
          },
          soon(),
        ),
      restore: () => {
        const dataSource = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: monday };
        return user.createClaim({ className, name: second, spec: { dataSource } });
      },
      restoredPod: () => plane.api.create('Pod', podWith(second, second), soon()),
    };
    const steps = [make.claim, make.pod, make.snapshotClass, make.snapshot, make.restore, make.restoredPod];
    for (const step of order === 'in order' ? steps : steps.toReversed()) await step();

    const startMs = Date.now();
    const nodeOf = (name: string): Promise<string> =>
      eventually(
        `a node for pod ${name}`,
        async () => {
          const pod = await plane.api.get('Pod', { namespace, name }, soon());
          if (pod.spec?.nodeName !== undefined) return pod.spec.nodeName;
          throw new NotYet(JSON.stringify(pod.status));
        },
        patienceMs,
      );
    const nodes = [await nodeOf(first), await nodeOf(second)];
    expect(new Set(nodes).size).toBe(1);
    console.log(`one apply, ${order}: up after ${Date.now() - startMs} ms`);
    for (const name of [first, second]) await plane.api.remove('Pod', { namespace, name }, soon());
    await user.delete('VolumeSnapshot', { metadata: { name: monday, namespace } });
    for (const name of [first, second]) {
      const claim = await plane.api.get('PersistentVolumeClaim', { namespace, name }, soon());
      expect(claim.status?.phase).toBe('Bound');
      await user.deleteClaimAndVolume(claim);
    }
    await world.world.assertNothingLeft();
  });
});
