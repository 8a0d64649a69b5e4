import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const parameters = { backend: 'directory', limit: 'advisory', adopt: 'by-name' };
/** Nobody but the node itself holds anything that it had to wait for. */
const alone = { waits: { offerWithinMs: 200 } };
let count = 0;

/** What an older cluster left: a volume for claim default/<name>, whose API is gone. */
interface Left {
  readonly className: string;
  readonly claimName: string;
  readonly volumeId: string;
  readonly poolPath: string;
}

describe.skipIf(!isRoot).each(planeNames)(
  `a cluster made again, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let before: ControlPlane;
    let plane: ControlPlane;
    beforeAll(async () => {
      [before, plane] = await Promise.all([startControlPlane('embedded'), startControlPlane(planeName)]);
    });
    afterAll(() => Promise.all([before?.[Symbol.asyncDispose](), plane?.[Symbol.asyncDispose]()]));

    /** In the cluster that was there before; its node stops with its volumes as they are. */
    async function leave(old: LoopWorld, size = '16Mi'): Promise<Left> {
      count += 1;
      const className = await old.user.createClass({ name: `again-${planeName}-${count}`, parameters });
      const claim = await old.user.createClaim({
        className,
        node: 'node-a',
        size,
        name: `orders-${className}`,
      });
      const volume = await old.user.untilBound(claim);
      const volumeId = volume.spec.csi?.volumeHandle ?? '';
      const { poolPath } = old.node;
      await writeFile(join(poolPath, 'volumes', volumeId, 'data/file'), 'precious');
      await old.node.stop();
      return { className, claimName: claim.metadata.name, volumeId, poolPath };
    }

    it('finds its data by namespace and claim name, though everything comes at once', async () => {
      await using old = await LoopWorld.open(before, 'process', alone);
      const { className, claimName, volumeId, poolPath } = await leave(old);
      await using world = await LoopWorld.open(plane, 'process', { noNode: true });
      const { user } = world;
      await user.createClass({ name: className, parameters });
      const claim = await user.createClaim({ className, name: claimName });
      await world.addNode({ pools: [`p=${poolPath}`] });
      const volume = await user.untilBound(claim);
      expect(volume).toMatchObject({
        metadata: { name: `adopted-${volumeId}`, annotations: { 'loam.dev/adopted': 'by-name' } },
        spec: { csi: { volumeHandle: volumeId }, persistentVolumeReclaimPolicy: 'Delete' },
      });
      const pod = world.podWith(volume);
      const path = await pod.start();
      expect(await readFile(join(path, 'file'), 'utf8')).toBe('precious');
      await pod.stop();
      // and it is a volume of this cluster from now on, whose end is its class's
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolume', volume);
      await world.assertNothingLeft();
    });

    it('has it reserved before the claim comes, on the node that holds it and no other', async () => {
      await using old = await LoopWorld.open(before, 'process', alone);
      const { className, claimName, volumeId, poolPath } = await leave(old);
      await using world = await LoopWorld.open(plane, 'process', { nodeName: 'node-b' });
      const { user } = world;
      await user.createClass({ name: className, parameters });
      await world.addNode({ nodeName: 'node-a', pools: [`p=${poolPath}`] });
      const offer = await eventually('the offer', () =>
        user.find('PersistentVolume', { metadata: { name: `adopted-${volumeId}` } }),
      );
      // an offer is taken back by deleting it, and is made again when a claim comes
      await user.delete('PersistentVolume', offer);
      await user.untilGone('PersistentVolume', offer);
      // the scheduler chose another node before it knew
      const claim = await user.createClaim({ className, name: claimName, node: 'node-b' });
      const volume = await user.untilBound(claim);
      expect(volume.spec.csi?.volumeHandle).toBe(volumeId);
      expect(await user.findVolume(claim)).toBeUndefined();
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolume', volume);
      await world.assertNothingLeft();
    });

    it('tells a claim that asks for more, and gives it nothing empty in silence', async () => {
      await using old = await LoopWorld.open(before, 'process', alone);
      const { className, claimName, volumeId, poolPath } = await leave(old);
      await using world = await LoopWorld.open(plane, 'process', { noNode: true });
      const { user } = world;
      await user.createClass({ name: className, parameters });
      await world.addNode({ pools: [`p=${poolPath}`], ...alone });
      const claim = await user.createClaim({ className, name: claimName, node: 'node-a', size: '1Gi' });
      await user.untilEvent(claim, 'AdoptionMisfit', 'asks for 1 GiB, the volume has 16 MiB');
      // a later claim is served, so that this one was seen and left
      const later = await user.createClaim({ className, node: 'node-a' });
      await user.untilBound(later, 20_000);
      expect(await user.findVolume(claim)).toBeUndefined();
      // made anew with what there is, it has its data
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolumeClaim', claim);
      const fitting = await user.createClaim({ className, name: claimName, node: 'node-a' });
      const volume = await user.untilBound(fitting);
      expect(volume.spec.csi?.volumeHandle).toBe(volumeId);
      for (const each of [fitting, later]) await user.delete('PersistentVolumeClaim', each);
      await world.assertNothingLeft();
    });

    it('destroys nothing by a PV that was written back from a file, until a claim of this cluster has had it', async () => {
      await using old = await LoopWorld.open(before, 'process', alone);
      const { className, claimName, volumeId, poolPath } = await leave(old);
      const file = (await old.user.volumes()).find(({ spec }) => spec.csi?.volumeHandle === volumeId);
      if (file?.spec.csi === undefined) throw new Error(`the old cluster has no PV of ${volumeId}`);
      await using world = await LoopWorld.open(plane, 'process', { noNode: true });
      const { user } = world;
      const { name, labels = {}, finalizers = [] } = file.metadata;
      const annotations = { 'pv.kubernetes.io/provisioned-by': user.driverName };
      const csi = { ...file.spec.csi, driver: user.driverName };
      const metadata = { name, labels, finalizers, annotations };
      const written = { apiVersion: 'v1', kind: 'PersistentVolume', metadata, spec: { ...file.spec, csi } };
      const volume = await user.api.create('PersistentVolume', written, AbortSignal.timeout(10_000));
      await eventually('the PV is Released', async () => {
        const found = await user.find('PersistentVolume', volume);
        return found?.status?.phase === 'Released' ? found : undefined;
      });
      await world.addNode({ pools: [`p=${poolPath}`] });
      await user.untilEvent(volume, 'VolumeFailedDelete', 'in another cluster');
      expect(await readFile(join(poolPath, 'volumes', volumeId, 'data/file'), 'utf8')).toBe('precious');

      await user.edit('PersistentVolume', volume, {
        spec: { claimRef: { uid: null, resourceVersion: null } },
      });
      const claim = await user.createClaim({ className, name: claimName });
      const pod = world.podWith(await user.untilBound(claim));
      expect(await readFile(join(await pod.start(), 'file'), 'utf8')).toBe('precious');
      await pod.stop();
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolume', volume);
      await world.assertNothingLeft();
    });

    it('gives a PV that somebody deleted back to a claim of the old name, when one comes', async () => {
      await using world = await LoopWorld.open(plane, 'process', alone);
      const { user, node } = world;
      const className = await user.createClass({ reclaimPolicy: 'Retain', parameters });
      const claim = await user.createClaim({ className, node: 'node-a' });
      const volume = await user.untilBound(claim, 20_000);
      const volumeId = volume.spec.csi?.volumeHandle ?? '';
      await writeFile(join(node.poolPath, 'volumes', volumeId, 'data/file'), 'precious');
      await user.delete('PersistentVolumeClaim', claim);
      await user.untilGone('PersistentVolumeClaim', claim);
      await user.delete('PersistentVolume', volume);
      await user.untilGone('PersistentVolume', volume);
      const again = await user.createClaim({ className, name: claim.metadata.name, node: 'node-a' });
      const back = await user.untilBound(again);
      expect(back.spec.csi?.volumeHandle).toBe(volumeId);
      await user.edit('PersistentVolume', back, { spec: { persistentVolumeReclaimPolicy: 'Delete' } });
      await user.delete('PersistentVolumeClaim', again);
      await user.untilGone('PersistentVolume', back);
      await world.assertNothingLeft();
    });
  },
);
