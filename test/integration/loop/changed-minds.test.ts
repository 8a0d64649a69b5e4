import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiFaultProxy } from '../../support/api-fault-proxy.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';
import { assertPoolEmpty } from '../../support/pool-leftovers.ts';

/** The driver answers late; meanwhile the world goes on. */
describe.skipIf(!isRoot).each(planeNames)(
  `while a volume is being made, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    describe.each(adapterNames)('through the %s adapter', (adapter) => {
      it('its claim is deleted: the volume goes too, and no PV comes', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const { claim, gate } = await claimInTheMaking(world);
        expect(readdirSync(join(node.poolPath, 'volumes'))).toEqual([volumeNameOf(claim)]);
        await user.delete('PersistentVolumeClaim', claim);
        await user.untilGone('PersistentVolumeClaim', claim);
        gate.open();
        await assertPoolEmpty(node.poolPath);
        expect(await user.volumes()).toEqual([]);
      });

      it('its claim is deleted and made anew under the same name: only the new one has a volume', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const className = await user.createClass();
        const gate = node.driver.holdNextCreate();
        const name = `${user.driverName.replaceAll('.', '-')}-twice`;
        const first = await user.createClaim({ className, node: 'node-a', name });
        await gate.reached;
        await user.delete('PersistentVolumeClaim', first);
        await user.untilGone('PersistentVolumeClaim', first);
        const second = await user.createClaim({ className, node: 'node-a', name });
        await user.untilBound(second);
        gate.open();
        await eventually('one volume to be left', () => {
          const names = readdirSync(join(node.poolPath, 'volumes'));
          return names.length === 1 && names[0] === volumeNameOf(second);
        });
        expect(existsSync(join(node.poolPath, 'by-claim/default', name, 'data'))).toBe(true);
        await user.deleteClaimAndVolume(second);
        await world.assertNothingLeft();
      });

      it('its claim moves to another node: made there, undone here, and the claim says so', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node: here } = world;
        const { claim, gate } = await claimInTheMaking(world);
        const there = await world.addNode({ nodeName: 'node-b' });
        await user.selectNode(claim, 'node-b');
        await user.untilVolume(claim);
        gate.open();
        const volume = await user.untilBound(claim);
        expect(JSON.stringify(volume.spec.nodeAffinity)).toContain('node-b');
        await assertPoolEmpty(here.poolPath);
        await user.untilEvent(
          claim,
          'ProvisioningUndone',
          /on node node-a, begun in vain: (node node-b provides this claim|the claim has the volume)/,
        );
        expect(readdirSync(join(there.poolPath, 'volumes'))).toEqual([volumeNameOf(claim)]);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('its claim loses its node: the volume is undone, and made again when the node is back', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const { className, claim, gate } = await claimInTheMaking(world);
        await user.selectNode(claim, null);
        await world.untilHeard(className);
        gate.open();
        await assertPoolEmpty(node.poolPath);
        await user.selectNode(claim, 'node-a');
        await user.untilBound(claim);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('a static PV gets its claim: that one is kept, ours is undone, and the claim says so', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const className = await user.createClass({ volumeBindingMode: 'Immediate' });
        const gate = node.driver.holdNextCreate();
        const claim = await user.createClaim({ className });
        await gate.reached;
        const { name, namespace = '' } = claim.metadata;
        await plane.api.create(
          'PersistentVolume',
          {
            metadata: { name: `${name}-static` },
            spec: {
              accessModes: ['ReadWriteOnce'],
              capacity: { storage: '1Gi' },
              storageClassName: className,
              persistentVolumeReclaimPolicy: 'Retain',
              claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace },
              csi: { driver: 'other.example.org', volumeHandle: 'theirs' },
            },
          },
          AbortSignal.timeout(5_000),
        );
        // the PV controller looks at a pre-bound PV's claim only when the claim itself changes, or all claims' turn comes (every 15 s)
        await user.edit('PersistentVolumeClaim', claim, { metadata: { labels: { look: 'again' } } });
        expect((await user.untilBound(claim)).metadata.name).toBe(`${name}-static`);
        await world.untilHeard(className);
        gate.open();
        await assertPoolEmpty(node.poolPath);
        await user.untilEvent(
          claim,
          'ProvisioningUndone',
          `begun in vain: the claim has the volume ${name}-static`,
        );
        expect(await user.volumes()).toEqual([]);
        await user.delete('PersistentVolumeClaim', claim);
        await user.delete('PersistentVolume', { metadata: { name: `${name}-static` } });
      });

      it('its class is deleted: the claim is served as the class said when it began', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const { className, claim, gate } = await claimInTheMaking(world);
        await user.delete('StorageClass', { metadata: { name: className } });
        gate.open();
        await user.untilBound(claim);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('its class comes to name another pool: made there, nothing left in the first', async () => {
        await using proxy = await ApiFaultProxy.start(plane);
        const options = { apiUrl: proxy.url, poolNames: ['first', 'second'] };
        await using world = await LoopWorld.open(plane, adapter, options);
        const { user, node } = world;
        const parameters = { backend: 'directory', limit: 'advisory' };
        const className = await user.createClass({ parameters: { ...parameters, pool: 'first' } });
        proxy.answerNext(409, { method: 'POST', path: /persistentvolumes/ }, 1_000);
        const claim = await user.createClaim({ className, node: 'node-a' });
        const [first, second] = node.pools;
        const made = join(first?.path ?? '', 'volumes', volumeNameOf(claim));
        await eventually('a volume in the first pool', () => existsSync(made));
        await user.delete('StorageClass', { metadata: { name: className } });
        await user.createClass({ name: className, parameters: { ...parameters, pool: 'second' } });
        await eventually('a volume in the second pool', () => {
          return existsSync(join(second?.path ?? '', 'volumes', volumeNameOf(claim)));
        });
        proxy.clear();
        const volume = await user.untilBound(claim);
        const uuid = node.stack.pools.open().find(({ name }) => name === 'second')?.uuid;
        expect(volume.spec.csi?.volumeAttributes?.['loam.dev/pool-uuid']).toBe(uuid);
        await assertPoolEmpty(first?.path ?? '');
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('the process ends before the PV is written: the next one makes the PV, and only one volume', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const { claim, gate } = await claimInTheMaking(world);
        const stopped = node.stop();
        gate.open();
        await stopped;
        const next = await world.addNode();
        await user.untilBound(claim);
        expect(readdirSync(join(next.poolPath, 'volumes'))).toEqual([volumeNameOf(claim)]);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('the process ends and the claim goes before the next one starts: the leftover is swept', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const { claim, gate } = await claimInTheMaking(world);
        const stopped = node.stop();
        gate.open();
        await stopped;
        expect(await user.findVolume(claim)).toBeUndefined();
        await user.delete('PersistentVolumeClaim', claim);
        await user.untilGone('PersistentVolumeClaim', claim);
        const next = await world.addNode();
        await assertPoolEmpty(next.poolPath);
        expect(await user.volumes()).toEqual([]);
      });
    });
  },
);

/** node-a has made the claim's volume, and its driver keeps the answer back. */
async function claimInTheMaking({ user, node }: LoopWorld) {
  const gate = node.driver.holdNextCreate();
  const className = await user.createClass();
  const claim = await user.createClaim({ className, node: 'node-a' });
  await gate.reached;
  return { className, claim, gate };
}
