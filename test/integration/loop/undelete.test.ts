import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Terminal } from '../../../src/cli/run-command.ts';
import { runUndelete } from '../../../src/cli/undelete/run-undelete.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const until = 'loam.dev/retained-until';

describe.skipIf(!isRoot).each(planeNames)(
  `loam undelete on the %s control plane${mountsNeedRoot}`,
  (planeName) => {
    let plane: ControlPlane;
    beforeAll(async () => {
      plane = await startControlPlane(planeName);
    });
    afterAll(() => plane?.[Symbol.asyncDispose]());

    it('gives a deleted claim its bytes back, and they go when it is deleted for good', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const { claim, volume } = await retained(world);
      const said = recorder();
      await undelete(world, volume, said);
      expect(said.errs).toContain(`created claim default/${claim.metadata.name}`);

      const again = await claimNamed(world, claim.metadata.name);
      const bound = await user.untilBound(again);
      expect(bound.metadata.name).toBe(volume.metadata.name);
      expect(bound.metadata.annotations?.[until]).toBeUndefined();
      expect(again.metadata.uid).not.toBe(claim.metadata.uid);
      expect(again.spec).toMatchObject({
        resources: { requests: { storage: '16Mi' } },
        volumeMode: 'Filesystem',
      });
      await expectBytes(world, bound);
      // once more is no harm
      await undelete(world, volume);
      await endOf(world, again, bound);
    });

    it('gives them to a claim of another name, which a person creates', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const { claim, volume } = await retained(world);
      const name = `${claim.metadata.name}-copy`;
      const said = recorder();
      await undelete(world, volume, said, ['--to', name], { apply: false });
      expect(said.outs.join('\n')).toContain(`name: ${name}`);
      // whoever takes the old name now gets another volume
      const stranger = await user.createClaim({
        className: volume.spec.storageClassName ?? '',
        node: 'node-a',
        name: claim.metadata.name,
      });
      expect((await user.untilBound(stranger)).metadata.name).not.toBe(volume.metadata.name);
      await undelete(world, volume, recorder(), ['--to', name]);
      const copy = await claimNamed(world, name);
      const bound = await user.untilBound(copy);
      expect(bound.metadata.name).toBe(volume.metadata.name);
      await expectBytes(world, bound);
      await release(world, stranger);
      await endOf(world, copy, bound);
    });

    it('puts another PV in the place of one that was deleted, too, and no byte is lost', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const { claim, volume } = await retained(world);
      await user.delete('PersistentVolume', volume);
      expect((await user.find('PersistentVolume', volume))?.metadata.deletionTimestamp).toBeDefined();
      await undelete(world, volume);

      const again = await claimNamed(world, claim.metadata.name);
      const bound = await user.untilBound(again);
      expect(bound.metadata.name).toBe(`${volume.metadata.name}-undeleted`);
      expect(bound.spec.csi).toEqual(volume.spec.csi);
      await user.untilGone('PersistentVolume', volume);
      await expectBytes(world, bound);
      await undelete(world, volume);
      await endOf(world, again, bound);
    });

    it('refuses while the claim is there, and says what would keep the data', async () => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const className = await user.createClass();
      const claim = await user.createClaim({ className, node: 'node-a' });
      const volume = await user.untilBound(claim);
      const said = recorder();
      await undelete(world, volume, said, ['--to', 'other'], { code: 1 });
      expect(said.errs.join('\n')).toContain('Bound to claim default/');
      await user.deleteClaimAndVolume(claim);
      await world.assertNothingLeft();
    });
  },
);

/** A volume with bytes in it whose claim was deleted and which is retained. */
async function retained(
  world: LoopWorld,
): Promise<{ claim: PersistentVolumeClaim; volume: PersistentVolume }> {
  const { user } = world;
  const className = await user.createClass({
    parameters: { backend: 'directory', limit: 'advisory', retainFor: '1h' },
  });
  const claim = await user.createClaim({ className, node: 'node-a' });
  const bound = await user.untilBound(claim);
  const pod = world.podWith(bound);
  await writeFile(join(await pod.start(), 'precious'), bytesOf(bound));
  await pod.stop();
  await user.delete('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolumeClaim', claim);
  const volume = await eventually('the volume to be retained', async () => {
    const now = await user.find('PersistentVolume', bound);
    return now?.metadata.annotations?.[until] !== undefined && now;
  });
  expect(volume.status?.phase).toBe('Released');
  return { claim, volume };
}

function bytesOf(volume: PersistentVolume): string {
  return `bytes of ${volume.spec.csi?.volumeHandle}\n`.repeat(1_000);
}

async function expectBytes(world: LoopWorld, volume: PersistentVolume): Promise<void> {
  const pod = world.podWith(volume, 'pod-2');
  const target = await pod.start();
  try {
    expect(await readFile(join(target, 'precious'), 'utf8')).toBe(bytesOf(volume));
  } finally {
    await pod.stop();
  }
}

/** Runs the command; where it ends with another exit code, what it said is told. */
async function undelete(
  { plane, user }: LoopWorld,
  volume: PersistentVolume,
  to: ReturnType<typeof recorder> = recorder(),
  flags: readonly string[] = [],
  { apply = true, code = 0 } = {},
): Promise<void> {
  const where = [`--kubeconfig=${plane.kubeconfigPath}`, `--driver=${user.driverName}`];
  const ended = await runUndelete(
    [volume.metadata.name, ...where, ...flags, ...(apply ? ['--apply'] : [])],
    to,
  );
  expect({ code: ended, ...(ended === code ? {} : { said: to.errs }) }).toEqual({ code });
}

async function claimNamed({ user }: LoopWorld, name: string): Promise<PersistentVolumeClaim> {
  return eventually(`claim ${name}`, () =>
    user.find('PersistentVolumeClaim', { metadata: { name, namespace: 'default' } }),
  );
}

/** The next deletion is for good: nothing of it is left. */
async function endOf(
  world: LoopWorld,
  claim: PersistentVolumeClaim,
  volume: PersistentVolume,
): Promise<void> {
  const { user } = world;
  await user.edit('PersistentVolume', volume, { metadata: { annotations: { 'loam.dev/retain-for': null } } });
  await user.delete('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolume', volume);
  await world.assertNothingLeft();
}

/** Ends a claim's volume, whose retention is of no interest. */
async function release({ user }: LoopWorld, claim: PersistentVolumeClaim): Promise<void> {
  const volume = { metadata: { name: `pvc-${claim.metadata.uid}` } };
  await user.edit('PersistentVolume', volume, { metadata: { annotations: { 'loam.dev/retain-for': null } } });
  await user.delete('PersistentVolumeClaim', claim);
  await user.untilGone('PersistentVolume', volume);
}

function recorder(): Terminal & { readonly outs: string[]; readonly errs: string[] } {
  const outs: string[] = [];
  const errs: string[] = [];
  return { outs, errs, out: (text) => outs.push(text), err: (text) => errs.push(text) };
}
