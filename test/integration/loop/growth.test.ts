import { statSync } from 'node:fs';
import { statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import type { ClusterUser } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const mi = 1n << 20n;
/** xfs grows while it is mounted without more rights than mounting needs. */
const loopback = { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'xfs' };

describe.skipIf(!isRoot).each(planeNames)(
  `growth and attributes, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    describe.each(adapterNames)('through the %s adapter', (adapter) => {
      it('grows a claim’s image under its pod, in one go, to the byte', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const className = await user.createClass({ allowVolumeExpansion: true, parameters: loopback });
        const claim = await user.createClaim({ className, node: 'node-a', size: '320Mi' });
        const volume = await user.untilBound(claim);
        const pod = world.podWith(volume);
        const path = await pod.start();
        await writeFile(join(path, 'kept'), 'before');
        const before = await statfs(path);
        await untilSaysSize(user, claim, '320Mi');

        const startMs = performance.now();
        await ask(user, claim, '500Mi');
        const grown = await untilSaysSize(user, claim, '500Mi');
        const elapsedMs = performance.now() - startMs;
        expect(grown.status).toMatchObject({ allocatedResources: { storage: '500Mi' } });
        expect(grown.status?.allocatedResourceStatuses ?? {}).toEqual({});
        expect(grown.status?.conditions ?? []).toEqual([]);
        expect(grown.metadata.annotations).toMatchObject({
          'volume.kubernetes.io/node-expansion-not-required': 'true',
        });
        const now = await user.untilVolume(claim);
        expect(now.spec.capacity).toEqual({ storage: '500Mi' });
        expect(BigInt(statSync(imagePath(world, now)).size)).toBe(500n * mi);
        const after = await statfs(path);
        expect(after.blocks * after.bsize - before.blocks * before.bsize).toBeGreaterThan(150 * 1024 * 1024);
        await user.untilEvent(claim, 'Resizing', 'External resizer is resizing volume');
        await user.untilEvent(claim, 'VolumeResizeSuccessful', 'Resize volume succeeded');
        console.log(`${planeName} ${adapter}: grown in ${Math.round(elapsedMs)} ms`);
        expect(elapsedMs).toBeLessThan(5_000);

        await pod.stop();
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
        expect(node.logLines.filter((line) => line.includes(' error '))).toEqual([]);
      });

      it('tells a claim why its size cannot be had, and recovers when it asks for less', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const parameters = { ...loopback, provisioning: 'thick' };
        const className = await user.createClass({ allowVolumeExpansion: true, parameters });
        const claim = await user.createClaim({ className, node: 'node-a', size: '320Mi' });
        await user.untilBound(claim);
        await untilSaysSize(user, claim, '320Mi');

        await ask(user, claim, '900Ti');
        const event = await user.untilEvent(claim, 'VolumeResizeFailed', 'code = OutOfRange desc = ');
        expect(event.type).toBe('Warning');
        const failed = await untilSays(user, claim, ({ status }) => {
          return status?.allocatedResourceStatuses?.['storage'] === 'ControllerResizeInfeasible';
        });
        const condition = failed.status?.conditions?.find(({ type }) => type === 'ControllerResizeError');
        expect(condition?.message).toContain('code = OutOfRange');
        expect((await user.untilVolume(claim)).spec.capacity).toEqual({ storage: '320Mi' });

        await ask(user, claim, '321Mi');
        const grown = await untilSaysSize(user, claim, '321Mi');
        expect(grown.status?.conditions ?? []).toEqual([]);
        await expect(ask(user, claim, '320Mi')).rejects.toThrow('field can not be less than status.capacity');
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });

      it('applies a VolumeAttributesClass, at the volume’s creation and later', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const name = (what: string): string => `${user.driverName.replaceAll('.', '-')}-${what}`;
        for (const [what, onDelete] of [
          ['keep', 'delete'],
          ['burn', 'scrub'],
        ] as const) {
          await plane.api.create(
            'VolumeAttributesClass',
            { metadata: { name: name(what) }, driverName: user.driverName, parameters: { onDelete } },
            AbortSignal.timeout(10_000),
          );
        }
        const className = await user.createClass();
        const spec = { volumeAttributesClassName: name('keep') };
        const claim = await user.createClaim({ className, node: 'node-a', spec });
        const volume = await user.untilBound(claim);
        expect(volume.spec.volumeAttributesClassName).toBe(name('keep'));
        await untilHas(user, claim, name('keep'));

        await user.edit('PersistentVolumeClaim', claim, {
          spec: { volumeAttributesClassName: name('none') },
        });
        await user.untilEvent(claim, 'VolumeModifyFailed', 'does not exist');
        await user.edit('PersistentVolumeClaim', claim, {
          spec: { volumeAttributesClassName: name('burn') },
        });
        const changed = await untilHas(user, claim, name('burn'));
        expect(changed.status?.conditions ?? []).toEqual([]);
        expect(changed.status?.modifyVolumeStatus).toBeUndefined();
        expect((await user.untilVolume(claim)).spec.volumeAttributesClassName).toBe(name('burn'));
        await user.untilEvent(claim, 'VolumeModifySuccessful', `with vac ${name('burn')} successfully`);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });
    });

    // the embedded API server has no admission of its own
    it.runIf(planeName === 'real')(
      'is refused by the API server where the class does not allow it',
      async () => {
        await using world = await LoopWorld.open(plane, 'process');
        const { user } = world;
        const claim = await user.createClaim({ className: await user.createClass(), node: 'node-a' });
        await user.untilBound(claim);
        await expect(ask(user, claim, '32Mi')).rejects.toThrow(
          'storageclass that provisions the pvc must support resize',
        );
        await user.deleteClaimAndVolume(claim);
      },
    );
  },
);

async function ask(user: ClusterUser, claim: PersistentVolumeClaim, storage: string): Promise<void> {
  await user.edit('PersistentVolumeClaim', claim, { spec: { resources: { requests: { storage } } } });
}

function untilSays(
  user: ClusterUser,
  claim: PersistentVolumeClaim,
  isSo: (claim: PersistentVolumeClaim) => boolean,
): Promise<PersistentVolumeClaim> {
  return eventually(`claim ${claim.metadata.name} to say so`, async () => {
    const now = await user.find('PersistentVolumeClaim', claim);
    if (now !== undefined && isSo(now)) return now;
    throw new NotYet(JSON.stringify(now?.status));
  });
}

function untilSaysSize(
  user: ClusterUser,
  claim: PersistentVolumeClaim,
  storage: string,
): Promise<PersistentVolumeClaim> {
  return untilSays(user, claim, ({ status }) => status?.capacity?.['storage'] === storage);
}

function untilHas(
  user: ClusterUser,
  claim: PersistentVolumeClaim,
  className: string,
): Promise<PersistentVolumeClaim> {
  return untilSays(user, claim, ({ status }) => status?.currentVolumeAttributesClassName === className);
}

function imagePath(world: LoopWorld, volume: PersistentVolume): string {
  return join(world.node.poolPath, 'volumes', volume.spec.csi?.volumeHandle ?? '', 'image');
}
