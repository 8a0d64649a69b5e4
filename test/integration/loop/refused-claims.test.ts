import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import type { ClaimWish } from '../../support/cluster-user.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { adapterNames } from '../../support/local-node.ts';
import { ScratchPool, whyNoScratchPool } from '../../support/scratch-pool.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';
import { assertPoolEmpty } from '../../support/pool-leftovers.ts';

interface Refusal {
  readonly what: string;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly claim?: Partial<ClaimWish>;
  readonly says: string | RegExp;
}

const directory = { backend: 'directory', limit: 'advisory' };

const refusals: readonly Refusal[] = [
  {
    what: 'an unknown class parameter',
    parameters: { ...directory, limits: 'advisory' },
    says: 'unknown class parameter "limits"; known are backend, pool',
  },
  {
    what: 'a class parameter with a value that it does not have',
    parameters: { ...directory, onDelete: 'burn' },
    says: 'class parameter onDelete is "burn"; it can be delete, scrub',
  },
  {
    what: 'class parameters that contradict each other',
    parameters: { ...directory, provisioning: 'thick' },
    says: 'provisioning: thick needs an image; use backend: loopback or remove provisioning',
  },
  {
    what: 'a limit that nothing enforces',
    parameters: { backend: 'directory' },
    says: 'nothing holds a size limit here',
  },
  {
    what: 'a pool that the node does not have',
    parameters: { ...directory, pool: 'gold' },
    says: 'the class names pool gold, which this node does not have',
  },
  {
    what: 'a file system that Loam does not make',
    parameters: { 'csi.storage.k8s.io/fstype': 'ntfs' },
    says: '"ntfs" is not known; it can be ext4, xfs, btrfs',
  },
  {
    what: 'Block of a directory class',
    claim: { spec: { volumeMode: 'Block' } },
    says: 'directory: has no raw block; use backend: loopback, or volumeMode: Filesystem',
  },
  {
    what: 'ReadWriteMany of a class without sharing',
    claim: { spec: { accessModes: ['ReadWriteMany'] } },
    says: 'MULTI_NODE_MULTI_WRITER needs several nodes and a local volume has one; ask for ReadWriteOnce',
  },
  {
    what: 'a size beyond every number',
    claim: { size: '9Ei' },
    // kube-apiserver caps it at 2^63 - 1
    says: /9223372036854775807 bytes are more than|9Ei is more than the 9223372036854775807 bytes/,
  },
];

describe.skipIf(!isRoot).each(planeNames)(
  `a claim that cannot be served, on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    describe.each(adapterNames)('through the %s adapter', (adapter) => {
      it.each(refusals)('is refused with the reason, leaving nothing: $what', async (refusal) => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const className = await user.createClass({ parameters: refusal.parameters ?? directory });
        const claim = await user.createClaim({ className, node: 'node-a', ...refusal.claim });
        const event = await user.untilEvent(claim, 'ProvisioningFailed', refusal.says);
        expect(event.type).toBe('Warning');
        await assertUnserved(world, claim);
      });

      it('is refused with the reason, leaving nothing: a selector', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const claim = await user.createClaim({
          className: await user.createClass(),
          node: 'node-a',
          spec: { selector: { matchLabels: { disk: 'fast' } } },
        });
        await user.untilEvent(claim, 'ProvisioningFailed', 'claim Selector is not supported');
        await assertUnserved(world, claim);
      });

      it.each([
        {
          what: 'a clone',
          dataSource: { kind: 'PersistentVolumeClaim', name: 'other' },
          says: /claim \w+\/other is not there/,
        },
        {
          what: 'a snapshot',
          dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'yesterday' },
          // the embedded control plane has the kind, a new cluster has not
          says: /yesterday (cannot be restored: .*external-snapshotter is not installed|is not there)/,
        },
      ])(
        'is refused with the reason, leaving nothing: the data of $what that is not there',
        async ({ dataSource, says }) => {
          await using world = await LoopWorld.open(plane, adapter);
          const { user } = world;
          const className = await user.createClass();
          const claim = await user.createClaim({ className, node: 'node-a', spec: { dataSource } });
          await user.untilEvent(claim, 'ProvisioningFailed', says);
          await assertUnserved(world, claim);
        },
      );

      it('is left to its populator, with an event that says so', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const claim = await user.createClaim({
          className: await user.createClass(),
          node: 'node-a',
          spec: { dataSourceRef: { apiGroup: 'example.org', kind: 'Recipe', name: 'cake' } },
        });
        await user.untilEvent(
          claim,
          'Provisioning',
          'Assuming an external populator will provision the volume',
        );
        await assertUnserved(world, claim);
      });

      it('gives its node back to the scheduler when it is larger than the pool', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const className = await user.createClass();
        const claim = await user.createClaim({ className, node: 'node-a', size: '900Ti' });
        await user.untilEvent(claim, 'ProvisioningFailed', /pool p has .* to give of .*; ask for less/);
        await user.untilUnselected(claim);
        await assertUnserved(world, claim);
      });

      const noDisk = whyNoScratchPool('ext4');
      it.skipIf(noDisk !== '')(
        `gives its node back to the scheduler when others left too little, and is served once they are gone${noDisk}`,
        async () => {
          await using disk = ScratchPool.make('ext4', 128);
          await using world = await LoopWorld.open(plane, adapter, { pools: [`p=${disk.path}`] });
          const { user } = world;
          const className = await user.createClass();
          const first = await user.createClaim({ className, node: 'node-a', size: '70Mi' });
          await user.untilBound(first);
          const claim = await user.createClaim({ className, node: 'node-a', size: '70Mi' });
          await user.untilEvent(
            claim,
            'ProvisioningFailed',
            /promised 70 MiB.*; ask for less, delete volumes or add a pool/,
          );
          await user.untilUnselected(claim);
          await user.deleteClaimAndVolume(first);
          await assertPoolEmpty(disk.path);
          await user.selectNode(claim, 'node-a');
          await user.untilBound(claim);
          await user.deleteClaimAndVolume(claim);
          await world.assertNothingLeft();
        },
      );

      it('says so and stays Pending when it is Immediate and larger than the pool', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const className = await user.createClass({ volumeBindingMode: 'Immediate' });
        const claim = await user.createClaim({ className, size: '900Ti' });
        await user.untilEvent(claim, 'ProvisioningFailed', /pool p has .* to give of .*; ask for less/);
        await assertUnserved(world, claim);
      });

      it('is served once its class is there with words that can be served', async () => {
        await using world = await LoopWorld.open(plane, adapter);
        const { user } = world;
        const className = await user.createClass({ parameters: { ...directory, limits: 'advisory' } });
        const claim = await user.createClaim({ className, node: 'node-a' });
        await user.untilEvent(claim, 'ProvisioningFailed', 'unknown class parameter');
        await user.delete('StorageClass', { metadata: { name: className } });
        await user.createClass({ name: className });
        await user.untilBound(claim);
        await user.deleteClaimAndVolume(claim);
        await world.assertNothingLeft();
      });
    });
  },
);

/** The claim waits, and goes when it is told to; nothing was made for it. */
async function assertUnserved(world: LoopWorld, claim: PersistentVolumeClaim): Promise<void> {
  const { user } = world;
  expect((await user.find('PersistentVolumeClaim', claim))?.status?.phase).toBe('Pending');
  expect(await user.findVolume(claim)).toBeUndefined();
  await user.delete('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolumeClaim', claim);
  await world.assertNothingLeft();
}
