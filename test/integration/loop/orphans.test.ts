import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderPlan } from '../../../src/cli/gc.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/model/log.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { OperatorClient } from '../../../src/operator/operator-client.ts';
import { operatorPorts } from '../../../src/roles/operator-ports.ts';
import { serveOperatorSocket } from '../../../src/roles/serve-operator.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

describe.skipIf(!isRoot).each(planeNames)(
  `what operators ask of a node on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('a volume whose PV was deleted under Retain is listed, adopted for a claim, and removed only when asked', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      await using operator = await operate(world);
      const { user } = world;
      const { client } = operator;
      const { volume, className, volumeId } = await orphan(world);

      const { findings } = await client.plan();
      expect(findings).toMatchObject([
        { kind: 'orphan', id: volumeId, sizeBytes: `${16 << 20}`, byItself: false },
      ]);
      expect((await client.volumes()).volumes).toMatchObject([
        { volumeId, state: 'orphan', persistentVolume: '' },
      ]);

      const claim = { namespace: 'default', name: `${className}-again` };
      const shown = await client.adopt({ volumeId, claim, policy: 'Retain', apply: false });
      expect(shown.isCreated).toBe(false);
      expect(await user.volumes()).toEqual([]);
      const made = await client.adopt({ volumeId, claim, policy: 'Retain', apply: true });
      expect(made.manifest).toMatchObject({
        metadata: { name: `adopted-${volumeId}`, annotations: { 'loam.dev/adopted': 'by-hand' } },
        spec: { storageClassName: className, persistentVolumeReclaimPolicy: 'Retain', claimRef: claim },
      });
      // the same once more answers with the same
      expect(await client.adopt({ volumeId, claim, policy: 'Retain', apply: true })).toMatchObject({
        isCreated: true,
      });
      await expect(client.remove(volumeId)).rejects.toMatchObject({
        code: 'FAILED_PRECONDITION',
        message: expect.stringMatching(
          `PersistentVolume adopted-${volumeId} stands for it.*kubectl delete pv adopted-${volumeId}`,
        ) as unknown,
      });

      const again = await user.createClaim({ className, name: claim.name });
      const bound = await user.untilBound(again);
      expect(bound.spec.csi?.volumeHandle).toBe(volumeId);
      const pod = world.podWith(bound, 'pod-2');
      expect(await readFile(join(await pod.start(), 'precious'), 'utf8')).toBe('kept');
      const [row] = (await client.volumes()).volumes;
      expect(row).toMatchObject({ state: 'ready', phase: 'Bound', claim: `default/${claim.name}` });
      expect(row?.usedBy.length).toBe(2);
      await pod.stop();

      await lose(world, bound);
      expect(existsSync(dataOf(world, volume))).toBe(true);
      expect(await client.remove(volumeId)).toMatchObject({ outcome: 'removed' });
      expect(renderPlan(await client.plan())).toBe('node node-a: nothing to do');
      await expect(client.remove(volumeId)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await world.assertNothingLeft();
    });

    it('an orphan that is mounted is not removed, and one whose class archives goes to the archive first', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      await using operator = await operate(world);
      const { client } = operator;
      const { volume, volumeId } = await orphan(world, { onDelete: 'archive' });
      const pod = world.podWith(volume, 'pod-2');
      await pod.start();
      await expect(client.remove(volumeId)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
      await pod.stop();
      const removal = await client.remove(volumeId);
      expect(removal.outcome).toBe('archived');
      expect(removal.message).toContain(`loam gc --archive ${volumeId}`);
      expect((await client.plan()).findings).toMatchObject([{ kind: 'archived', id: volumeId }]);
      expect(await readFile(join(world.node.poolPath, 'archive', volumeId, 'data/precious'), 'utf8')).toBe(
        'kept',
      );
      expect(await client.removeArchived(volumeId)).toMatchObject({ outcome: 'removed' });
      expect(renderPlan(await client.plan())).toBe('node node-a: nothing to do');
      await world.assertNothingLeft();
    });
  },
);

/** The operator socket over a node of the test's own process. */
async function operate(world: LoopWorld): Promise<AsyncDisposable & { readonly client: OperatorClient }> {
  const { node, folder } = world;
  const { controller, inventory } = node.stack;
  const ports = operatorPorts({
    nodeName: node.nodeName,
    disk: controller,
    inventory,
    unowned: () => node.provisioner.unowned,
    adoptPath: (path, options, call) => controller.adoptPath(path, options, call),
    clock: systemClock,
    log: silentLog,
  });
  const served = await serveOperatorSocket(folder, ports, { clock: systemClock, log: silentLog });
  return {
    client: new OperatorClient(join(folder, 'operator.sock')),
    [Symbol.asyncDispose]: () => served.close(),
  };
}

/** A volume with a file in it, whose claim and PV a person deleted under policy Retain. */
async function orphan(
  world: LoopWorld,
  parameters: Readonly<Record<string, string>> = {},
): Promise<{ volume: PersistentVolume; className: string; volumeId: string }> {
  const { user } = world;
  const className = await user.createClass({
    reclaimPolicy: 'Retain',
    parameters: { backend: 'directory', limit: 'advisory', ...parameters },
  });
  const claim = await user.createClaim({ className, node: 'node-a' });
  const volume = await user.untilBound(claim);
  const pod = world.podWith(volume);
  await writeFile(join(await pod.start(), 'precious'), 'kept');
  await pod.stop();
  await lose(world, volume);
  return { volume, className, volumeId: volume.spec.csi?.volumeHandle ?? '' };
}

async function lose({ user }: LoopWorld, volume: PersistentVolume): Promise<void> {
  const { namespace = '', name = '' } = volume.spec.claimRef ?? {};
  const claim = { metadata: { namespace, name } };
  await user.delete('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolumeClaim', claim);
  await user.delete('PersistentVolume', volume);
  await user.untilGone('PersistentVolume', volume);
}

function dataOf(world: LoopWorld, volume: PersistentVolume): string {
  return join(world.node.poolPath, 'volumes', volume.spec.csi?.volumeHandle ?? '', 'data/precious');
}
