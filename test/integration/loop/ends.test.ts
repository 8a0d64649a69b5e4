import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isNotFound } from '../../../src/kube/api-error.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { type ControlPlane, planeNames, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';

const retainedUntil = 'loam.dev/retained-until';
const plain = { backend: 'directory', limit: 'advisory' };

describe.skipIf(!isRoot).each(planeNames)(`on the %s control plane${mountsNeedRoot}`, (planeName) => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane(planeName);
  });
  afterAll(() => plane?.[Symbol.asyncDispose]());

  it('retains a volume for as long as its class says, and gives it back with its bytes', async () => {
    await using world = await LoopWorld.open(plane, 'process');
    const { user } = world;
    const className = await user.createClass({ parameters: { ...plain, retainFor: '1h' } });
    const claim = await user.createClaim({ className, node: 'node-a' });
    const volume = await user.untilBound(claim);
    await useOnce(world, volume, 'note', 'mine');
    await user.delete('PersistentVolumeClaim', claim);
    await user.untilGone('PersistentVolumeClaim', claim);
    const text = `loam undelete ${volume.metadata.name}`;
    const { message } = await user.untilEvent(volume, 'VolumeRetained', text);
    const until = await eventually('the end of its retention', async () => {
      return (await user.find('PersistentVolume', volume))?.metadata.annotations?.[retainedUntil];
    });
    expect(message).toContain(until);
    expect(Date.parse(until) - Date.now()).toBeGreaterThan(50 * 60_000);

    const again = await giveBack(world, volume, claim);
    await eventually('the note to go', async () => {
      const now = await user.find('PersistentVolume', volume);
      return now?.metadata.annotations?.[retainedUntil] === undefined;
    });
    expect(await readOnce(world, volume, 'note')).toBe('mine');

    await user.delete('PersistentVolumeClaim', again);
    await eventually('another retention', async () => {
      return (await user.find('PersistentVolume', volume))?.metadata.annotations?.[retainedUntil];
    });
    const annotations = { [retainedUntil]: new Date().toISOString() };
    await user.edit('PersistentVolume', volume, { metadata: { annotations } });
    await user.untilGone('PersistentVolume', volume);
    await world.assertNothingLeft();
  });

  it('ends retentions early, the oldest first, over a cap of the namespace', async () => {
    await using world = await LoopWorld.open(plane, 'process', { retainedPerNamespaceBytes: 40n << 20n });
    const { user } = world;
    const className = await user.createClass({ parameters: { ...plain, retainFor: '1h' } });
    const volumes: PersistentVolume[] = [];
    for (let count = 0; count < 3; count += 1) {
      const claim = await user.createClaim({ className, node: 'node-a', size: '16Mi' });
      volumes.push(await user.untilBound(claim));
      await user.delete('PersistentVolumeClaim', claim);
      const volume = volumes.at(-1);
      await eventually('its retention', async () => {
        const now = volume && (await user.find('PersistentVolume', volume));
        return now?.metadata.annotations?.[retainedUntil];
      });
    }
    const [oldest, ...others] = volumes;
    if (oldest === undefined) throw new Error('no volume');
    await user.untilEvent(
      oldest,
      'RetentionEnded',
      /namespace default has 48 MiB .* more than the 40 MiB/,
      45_000,
    );
    await user.untilGone('PersistentVolume', oldest);
    for (const other of others) expect(await user.find('PersistentVolume', other)).toBeDefined();
  });

  it('recycles a volume in place: the next claim gets the same PV, empty', async () => {
    await using world = await LoopWorld.open(plane, 'process');
    const { user } = world;
    const className = await user.createClass({
      parameters: { ...plain, onRelease: 'recycle' },
      reclaimPolicy: 'Retain',
    });
    const claim = await user.createClaim({ className, node: 'node-a' });
    const volume = await user.untilBound(claim);
    await useOnce(world, volume, 'secret', 'of the first');
    await user.delete('PersistentVolumeClaim', claim);
    await user.untilEvent(volume, 'VolumeRecycled', 'offered to the next claim');
    await untilPhase(world, volume, 'Available');

    const next = await user.createClaim({ className, spec: { volumeName: volume.metadata.name } });
    expect((await user.untilBound(next)).metadata.uid).toBe(volume.metadata.uid);
    const pod = world.podWith(volume);
    expect(await readdir(await pod.start())).toEqual([]);
    await pod.stop();
  });

  it('serves a static PV of policy Recycle, which kube-controller-manager only marks Failed', async () => {
    await using world = await LoopWorld.open(plane, 'process');
    const { user } = world;
    const className = await user.createClass({ reclaimPolicy: 'Retain' });
    const claim = await user.createClaim({ className, node: 'node-a' });
    const volume = await user.untilBound(claim);
    await useOnce(world, volume, 'secret', 'x');
    await user.edit('PersistentVolume', volume, { spec: { persistentVolumeReclaimPolicy: 'Recycle' } });
    await user.delete('PersistentVolumeClaim', claim);
    await user.untilEvent(volume, 'VolumeRecycled', 'emptied');
    const free = await untilPhase(world, volume, 'Available');
    expect(free.spec.persistentVolumeReclaimPolicy).toBe('Retain');
    expect(free.metadata.annotations).toMatchObject({ 'loam.dev/on-release': 'recycle' });
  });

  it('refuses claims of a class that would delete and recycle', async () => {
    await using world = await LoopWorld.open(plane, 'process');
    const { user } = world;
    const className = await user.createClass({ parameters: { ...plain, onRelease: 'recycle' } });
    const claim = await user.createClaim({ className, node: 'node-a' });
    await user.untilEvent(claim, 'ProvisioningFailed', /reclaimPolicy: Retain.*without onRelease/);
    expect(await user.findVolume(claim)).toBeUndefined();
  });

  it.each(['delete', 'recycle'])(
    'destroys nothing of whoever gets the PV while its end by %s is under way, at whatever moment',
    async (end) => {
      await using world = await LoopWorld.open(plane, 'process');
      const { user } = world;
      const className = await user.createClass(
        end === 'recycle'
          ? { parameters: { ...plain, onRelease: 'recycle' }, reclaimPolicy: 'Retain' }
          : { parameters: plain },
      );
      for (let round = 0; round < 12; round += 1) {
        const claim = await user.createClaim({ className, node: 'node-a' });
        const volume = await user.untilBound(claim);
        await useOnce(world, volume, 'old', 'of the first');
        await user.delete('PersistentVolumeClaim', claim);
        // from before the release is heard of until long after the end
        const moment = Date.now() + round * 5;
        while (Date.now() < moment) await new Promise((resolve) => setImmediate(resolve));
        await interfere(world, volume, claim, round, end);
      }
      if (end === 'delete') await world.assertNothingLeft();
    },
  );
});

/** A tenant takes the PV away from its end, and uses it as soon as he can. */
async function interfere(
  world: LoopWorld,
  volume: PersistentVolume,
  claim: PersistentVolumeClaim,
  round: number,
  end: string,
): Promise<void> {
  const { user } = world;
  const handed = round % 2 === 0 ? null : { ...keyOf(claim), uid: null, resourceVersion: null };
  try {
    await user.edit('PersistentVolume', volume, { spec: { claimRef: handed } });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    // too late: the PV is gone
    return;
  }
  const className = volume.spec.storageClassName ?? '';
  const { name } = volume.metadata;
  // by hand back to the old name, or to somebody else
  if (round % 2 === 1) await user.untilGone('PersistentVolumeClaim', claim);
  const wish = {
    className,
    spec: { volumeName: name },
    ...(round % 2 === 0 ? {} : { name: claim.metadata.name }),
  };
  const tenant = await user.createClaim(wish);
  const pod = world.podWith(volume, `pod-${round}`);
  const fate = await eventually(
    'the tenant to have his volume, or to be told',
    async () => {
      const now = await user.find('PersistentVolume', volume);
      if (now === undefined) return 'the PV was gone';
      if (now.spec.claimRef?.uid !== tenant.metadata.uid) throw new NotYet(JSON.stringify(now.spec.claimRef));
      const told = (await user.eventsOf(tenant)).find(({ reason }) => reason === 'VolumeLost');
      if (told !== undefined) return 'told';
      try {
        await writeFile(join(await pod.start(), 'new'), 'of the tenant');
        return 'used';
      } catch (error) {
        throw new NotYet(String(error));
      }
    },
    20_000,
  );
  if (fate !== 'used') {
    // what has no data is not to be had by anybody any more
    await eventually(`${name} to be deleted`, async () => {
      const now = await user.find('PersistentVolume', volume);
      if (now === undefined || now.metadata.deletionTimestamp !== undefined) return true;
      throw new NotYet(JSON.stringify(now.metadata.annotations));
    });
  } else {
    await pod.stop();
    // the node has heard of everything by then
    await world.untilHeard(await user.createClass(), 'node-a');
    expect(await readOnce(world, volume, 'new')).toBe('of the tenant');
    // a volume is taken away whole or not at all
    if (end === 'delete') expect(await readOnce(world, volume, 'old')).toBe('of the first');
    const now = await user.find('PersistentVolume', volume);
    expect(now?.spec.claimRef?.uid).toBe(tenant.metadata.uid);
    expect(now?.metadata.deletionTimestamp).toBeUndefined();
  }
  await user.delete('PersistentVolumeClaim', tenant);
}

async function useOnce(
  world: LoopWorld,
  volume: PersistentVolume,
  file: string,
  text: string,
): Promise<void> {
  const pod = world.podWith(volume);
  await writeFile(join(await pod.start(), file), text);
  await pod.stop();
}

async function readOnce(world: LoopWorld, volume: PersistentVolume, file: string): Promise<string> {
  const pod = world.podWith(volume);
  const path = join(await pod.start(), file);
  const text = existsSync(path) ? await readFile(path, 'utf8') : 'nothing';
  await pod.stop();
  return text;
}

/** As `loam undelete` does. */
async function giveBack(world: LoopWorld, volume: PersistentVolume, claim: PersistentVolumeClaim) {
  const { user } = world;
  const claimRef = { ...keyOf(claim), uid: null, resourceVersion: null };
  await user.edit('PersistentVolume', volume, { spec: { claimRef } });
  const className = volume.spec.storageClassName ?? '';
  const spec = { volumeName: volume.metadata.name };
  const again = await user.createClaim({ className, name: claim.metadata.name, spec });
  await user.untilBound(again);
  return again;
}

function untilPhase(world: LoopWorld, volume: PersistentVolume, phase: string): Promise<PersistentVolume> {
  return eventually(`${volume.metadata.name} to be ${phase}`, async () => {
    const now = await world.user.find('PersistentVolume', volume);
    if (now?.status?.phase === phase) return now;
    throw new NotYet(`phase ${now?.status?.phase}`);
  });
}

function keyOf({ metadata }: PersistentVolumeClaim): { readonly namespace: string; readonly name: string } {
  return { namespace: metadata.namespace ?? '', name: metadata.name };
}
