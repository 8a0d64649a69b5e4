import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StorageClass } from '../../../src/kube/objects.ts';
import { volumeNameOf } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

describe.skipIf(!isRoot).each(planeNames)(`on the %s control plane${mountsNeedRoot}`, (planeName) => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane(planeName);
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  describe.each(adapterNames)('through the %s adapter', (adapter) => {
    describe.each(['WaitForFirstConsumer', 'Immediate'] as const)('a %s claim', (volumeBindingMode) => {
      it('becomes a PV with all of upstream’s fields, is Bound, and goes with its directory', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user, node } = world;
        const className = await user.createClass({ volumeBindingMode, mountOptions: ['noatime'] });
        const claim = await user.createClaim({
          className,
          size: '10Mi',
          ...(volumeBindingMode === 'Immediate' ? {} : { node: 'node-a' }),
        });
        const volume = await user.untilBound(claim);
        const name = volumeNameOf(claim);
        expect(volume.metadata).toMatchObject({
          name,
          annotations: {
            'pv.kubernetes.io/provisioned-by': user.driverName,
            'volume.kubernetes.io/provisioner-deletion-secret-name': '',
            'volume.kubernetes.io/provisioner-deletion-secret-namespace': '',
          },
        });
        expect(volume.metadata.finalizers).toEqual(
          expect.arrayContaining([
            'kubernetes.io/pv-protection',
            'external-provisioner.volume.kubernetes.io/finalizer',
          ]),
        );
        const { claimRef, csi, ...spec } = volume.spec;
        expect(spec).toEqual({
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '10Mi' },
          storageClassName: className,
          volumeMode: 'Filesystem',
          persistentVolumeReclaimPolicy: 'Delete',
          mountOptions: ['noatime'],
          nodeAffinity: {
            required: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: ['node-a'] }] },
              ],
            },
          },
        });
        expect(claimRef).toMatchObject({
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          namespace: 'default',
          name: claim.metadata.name,
          uid: claim.metadata.uid,
          resourceVersion: expect.stringMatching(/^\d+$/) as string,
        });
        const [pool] = node.stack.pools.open();
        expect(csi).toEqual({
          driver: user.driverName,
          volumeHandle: name,
          volumeAttributes: {
            'storage.kubernetes.io/csiProvisionerIdentity': expect.stringMatching(
              new RegExp(`^\\d{13}-\\d{1,4}-${user.driverName}-node-a$`),
            ) as string,
            'loam.dev/pool-uuid': pool?.uuid,
            'loam.dev/backend': 'directory',
            'loam.dev/limit': 'advisory',
          },
        });
        await user.untilEvent(claim, 'ProvisioningSucceeded', `Successfully provisioned volume ${name}`);
        expect(readdirSync(join(node.poolPath, 'volumes'))).toEqual([name]);
        expect(existsSync(join(node.poolPath, 'by-claim/default', claim.metadata.name, 'data'))).toBe(true);

        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });
    });

    const kinds: { what: string; className: Partial<StorageClass>; isBlock?: true }[] = [
      { what: 'directory', className: {} },
      { what: 'loopback mount', className: { parameters: {} } },
      { what: 'loopback block', className: { parameters: { backend: 'loopback' } }, isBlock: true },
    ];
    it.each(kinds)(
      `keeps what a pod wrote into a $what volume for the next pod, and leaves nothing after the claim`,
      async ({ className: parts, isBlock = false }) => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const className = await user.createClass(parts);
        const claim = await user.createClaim({
          className,
          node: 'node-a',
          size: '32Mi',
          ...(isBlock ? { spec: { volumeMode: 'Block' } } : {}),
        });
        const volume = await user.untilBound(claim);
        if (isBlock) expect(volume.spec.csi?.fsType).toBeUndefined();

        const first = world.podWith(volume, 'pod-1');
        const target = await first.start();
        const place = isBlock ? target : join(target, 'note');
        const text = 'written by the first pod';
        await writeFile(place, text, isBlock ? { flag: 'r+' } : {});
        execFileSync('sync', [place]);
        await first.stop();
        expect(existsSync(target)).toBe(false);

        const second = world.podWith(volume, 'pod-2');
        const again = await second.start();
        if (isBlock) {
          expect(execFileSync('head', ['-c', String(text.length), again], { encoding: 'utf8' })).toBe(text);
        } else {
          expect(await readFile(join(again, 'note'), 'utf8')).toBe(text);
        }
        await second.stop();
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      },
    );
  });
});
