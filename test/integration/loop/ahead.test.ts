import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

/** kube-controller-manager is away in all of these until a test calls it back. */
describe.skipIf(!isRoot).each(planeNames)(
  `ahead of the controller manager, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
      await plane.pauseBinder();
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    describe.each(adapterNames)('through the %s adapter', (adapter) => {
      it.each(['WaitForFirstConsumer', 'Immediate'] as const)(
        'a %s claim has its PV, with its phase written, before anybody asked',
        async (volumeBindingMode) => {
          await using world = await LoopWorld.open(plane, adapter);
          const { user } = world;
          const className = await user.createClass({ volumeBindingMode });
          const claim = await user.createClaim({
            className,
            ...(volumeBindingMode === 'Immediate' ? {} : { node: 'node-a' }),
          });
          await user.untilVolume(claim, 5_000);
          await user.untilEvent(claim, 'ProvisioningSucceeded', 'Successfully provisioned');
          expect((await user.findVolume(claim))?.status?.phase).toBe('Bound');
          const now = await user.find('PersistentVolumeClaim', claim);
          expect(now?.metadata.annotations ?? {}).not.toHaveProperty(
            'volume.kubernetes.io/storage-provisioner',
          );
          expect(now?.spec.volumeName).toBeUndefined();
        },
      );
    });

    it('--no-write-phase leaves the PV’s phase to the controller manager', async () => {
      await using world = await LoopWorld.open(plane, 'process', { writePhase: false });
      const { user } = world;
      const claim = await user.createClaim({ className: await user.createClass(), node: 'node-a' });
      await user.untilVolume(claim);
      // told after the phase would have been written
      await user.untilEvent(claim, 'ProvisioningSucceeded', 'Successfully provisioned');
      expect((await user.findVolume(claim))?.status?.phase ?? 'Pending').toBe('Pending');
    });

    it('--no-early waits for the annotation, and takes the claim when it is there', async () => {
      await using world = await LoopWorld.open(plane, 'process', { early: false });
      const { user } = world;
      const className = await user.createClass();
      const claim = await user.createClaim({ className, node: 'node-a' });
      const asked = await user.createClaim({ className, node: 'node-a' });
      await annotate(world, asked);
      // a later claim that was asked for is served; so the earlier one was seen and left
      await user.untilVolume(asked);
      expect(await user.findVolume(claim)).toBeUndefined();
      await annotate(world, claim);
      await user.untilVolume(claim);
    });

    it('a claim that a first pod has yet to place is left alone, and so is a Retain class’s', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const className = await user.createClass();
      const waiting = await user.createClaim({ className });
      const retained = await user.createClaim({
        className: await user.createClass({ reclaimPolicy: 'Retain' }),
        node: 'node-a',
      });
      const elsewhere = await user.createClaim({ className, node: 'node-b' });
      await user.untilVolume(await user.createClaim({ className, node: 'node-a' }));
      for (const claim of [waiting, retained, elsewhere])
        expect(await user.findVolume(claim)).toBeUndefined();
      await user.selectNode(waiting, 'node-a');
      await user.untilVolume(waiting);
    });

    it('everything that was made meanwhile is Bound when the controller manager comes back', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const className = await user.createClass();
      const claims = await Promise.all(
        Array.from({ length: 10 }, () => user.createClaim({ className, node: 'node-a' })),
      );
      for (const claim of claims) await user.untilVolume(claim);
      await plane.resumeBinder();
      for (const claim of claims) await user.untilBound(claim, 30_000);
      for (const claim of claims) await user.deleteClaimAndVolume(claim);
      await world.assertNothingLeft();
    });
  },
);

async function annotate(world: LoopWorld, claim: Parameters<LoopWorld['user']['find']>[1]): Promise<void> {
  const annotations = { 'volume.kubernetes.io/storage-provisioner': world.user.driverName };
  await world.user.edit('PersistentVolumeClaim', claim, { metadata: { annotations } });
}
