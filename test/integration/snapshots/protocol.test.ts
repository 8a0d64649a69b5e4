import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type {
  PersistentVolumeClaim,
  VolumeSnapshot,
  VolumeSnapshotClass,
  VolumeSnapshotContent,
} from '../../../src/kube/objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { whyNoGo } from '../../support/go-tools.ts';
import { adapterNames } from '../../support/local-node.ts';
import { isRoot, LoopWorld } from '../../support/loop-world.ts';
import { installSnapshotKinds, SnapshotController } from '../../support/snapshot-controller.ts';

const noGo = await whyNoGo();
const why = !isRoot ? ' (skipped: needs root)' : noGo === undefined ? '' : ` (skipped: ${noGo})`;
const namespace = 'default';
const creating = 'snapshot.storage.kubernetes.io/volumesnapshot-being-created';
const soon = () => AbortSignal.timeout(20_000);

describe.skipIf(why !== '')(`snapshots, with external-snapshotter's snapshot-controller${why}`, () => {
  let plane: ControlPlane;
  let controller: SnapshotController;
  beforeAll(async () => {
    plane = await startControlPlane('real');
    await installSnapshotKinds(plane.kubeconfigPath);
    controller = await SnapshotController.start(plane.kubeconfigPath);
  });
  afterAll(async () => {
    await controller?.[Symbol.asyncDispose]();
    await plane?.[Symbol.asyncDispose]();
  });

  let count = 0;
  beforeEach(() => {
    count += 1;
  });

  async function makeClass(world: LoopWorld, parts: Partial<VolumeSnapshotClass> = {}): Promise<string> {
    const name = `class-${count}`;
    const body: VolumeSnapshotClass = {
      metadata: { name },
      driver: world.user.driverName,
      deletionPolicy: 'Delete',
      parameters: { consistency: 'accept' },
      ...parts,
    };
    await plane.api.create('VolumeSnapshotClass', body, soon());
    return name;
  }

  async function boundClaim(world: LoopWorld): Promise<PersistentVolumeClaim> {
    const { user } = world;
    const claim = await user.createClaim({ className: await user.createClass(), node: 'node-a' });
    await user.untilBound(claim);
    return claim;
  }

  function takeSnapshot(
    claim: PersistentVolumeClaim,
    className: string,
    name = `snap-${count}`,
  ): Promise<VolumeSnapshot> {
    const spec = {
      volumeSnapshotClassName: className,
      source: { persistentVolumeClaimName: claim.metadata.name },
    };
    return plane.api.create('VolumeSnapshot', { metadata: { name, namespace }, spec }, soon());
  }

  /** @returns the content behind it, once both say ready */
  function untilReady(world: LoopWorld, snapshot: VolumeSnapshot): Promise<VolumeSnapshotContent> {
    return eventually(`snapshot ${snapshot.metadata.name} to be ready`, async () => {
      const now = await world.user.find('VolumeSnapshot', snapshot);
      if (now?.status?.readyToUse !== true) throw new NotYet(JSON.stringify(now?.status));
      const name = now.status.boundVolumeSnapshotContentName ?? '';
      const content = await world.user.find('VolumeSnapshotContent', { metadata: { name } });
      return content?.metadata.annotations?.[creating] === undefined && content;
    });
  }

  const dataOf = (world: LoopWorld, id: string) => join(world.node.poolPath, 'snapshots', id);

  it.each(adapterNames)('a VolumeSnapshot is made, ready and deleted with its data (%s)', async (adapter) => {
    await using world = await LoopWorld.open(plane, adapter, { snapshots: true });
    const claim = await boundClaim(world);
    const volume = await world.user.untilVolume(claim);
    const volumeFolder = join(world.node.poolPath, 'volumes', volume.spec.csi?.volumeHandle ?? '', 'data');
    await mkdir(join(volumeFolder, 'rows'));
    await writeFile(join(volumeFolder, 'rows/one'), 'first');
    const snapshot = await takeSnapshot(claim, await makeClass(world));
    const content = await untilReady(world, snapshot);
    const handle = content.status?.snapshotHandle ?? '';
    expect(handle).toBe(`snap_snapshot-${snapshot.metadata.uid ?? ''}`);
    expect(content).toMatchObject({
      metadata: {
        labels: { 'loam.dev/node': 'node-a' },
        // what is not on the wire no client of the socket can tell
        ...(adapter === 'process'
          ? { annotations: { 'loam.dev/consistency': expect.any(String) as string } }
          : {}),
      },
      status: { readyToUse: true, restoreSize: 16 * 2 ** 20 },
    });
    const ageMs = Date.now() - (content.status?.creationTime ?? 0) / 1e6;
    expect(ageMs).toBeGreaterThan(-2_000);
    expect(ageMs).toBeLessThan(60_000);
    expect(existsSync(join(dataOf(world, handle), 'data/rows/one'))).toBe(true);
    expect((await world.user.find('VolumeSnapshot', snapshot))?.status?.restoreSize).toBe('16Mi');

    await world.user.deleteClaimAndVolume(claim);
    expect(existsSync(join(dataOf(world, handle), 'data/rows/one'))).toBe(true);
    await world.user.delete('VolumeSnapshot', snapshot);
    await world.user.untilGone('VolumeSnapshot', snapshot);
    await world.user.untilGone('VolumeSnapshotContent', content);
    await world.assertNothingLeft();
    expect(world.node.stack.controller.holdsSnapshot(handle)).toBe(false);
  });

  it('Retain keeps the data when everything else goes, and it is taken up again by a content of its own', async () => {
    await using world = await LoopWorld.open(plane, 'process', { snapshots: true });
    const { user } = world;
    const claim = await boundClaim(world);
    const first = await takeSnapshot(claim, await makeClass(world, { deletionPolicy: 'Retain' }));
    const old = await untilReady(world, first);
    const handle = old.status?.snapshotHandle ?? '';
    await user.delete('VolumeSnapshot', first);
    await user.untilGone('VolumeSnapshot', first);
    await user.delete('VolumeSnapshotContent', old);
    await user.untilGone('VolumeSnapshotContent', old);
    expect(existsSync(dataOf(world, handle))).toBe(true);

    const contentName = `static-${count}`;
    const name = `again-${count}`;
    const content = await plane.api.create(
      'VolumeSnapshotContent',
      {
        metadata: { name: contentName },
        spec: {
          deletionPolicy: 'Delete',
          driver: user.driverName,
          source: { snapshotHandle: handle },
          volumeSnapshotRef: { namespace, name },
        },
      },
      soon(),
    );
    const spec = { source: { volumeSnapshotContentName: contentName } };
    const again = await plane.api.create('VolumeSnapshot', { metadata: { name, namespace }, spec }, soon());
    const ready = await untilReady(world, again);
    expect(ready).toMatchObject({
      metadata: { name: contentName, labels: { 'loam.dev/node': 'node-a' } },
      status: { snapshotHandle: handle, restoreSize: 16 * 2 ** 20 },
    });
    await user.delete('VolumeSnapshot', again);
    await user.untilGone('VolumeSnapshotContent', content);
    await user.deleteClaimAndVolume(claim);
    await world.assertNothingLeft();
    expect(existsSync(dataOf(world, handle))).toBe(false);
  });

  it('a snapshot that the driver refuses says why, on itself and in an Event, and can be deleted', async () => {
    await using world = await LoopWorld.open(plane, 'process', { snapshots: true });
    const { user } = world;
    const claim = await boundClaim(world);
    const className = await makeClass(world, { parameters: { consistancy: 'accept' } });
    const snapshot = await takeSnapshot(claim, className);
    const content = await eventually('the error on the VolumeSnapshot', async () => {
      const now = await user.find('VolumeSnapshot', snapshot);
      const message = now?.status?.error?.message ?? '';
      if (!message.includes('consistancy')) throw new NotYet(JSON.stringify(now?.status));
      const contentName =
        now?.status?.boundVolumeSnapshotContentName ?? `snapcontent-${snapshot.metadata.uid}`;
      return user.find('VolumeSnapshotContent', { metadata: { name: contentName } });
    });
    await user.untilEvent(
      content,
      'SnapshotCreationFailed',
      'unknown snapshot class parameter "consistancy"',
    );
    await user.delete('VolumeSnapshot', snapshot);
    await user.untilGone('VolumeSnapshotContent', content);
    await user.untilGone('VolumeSnapshot', snapshot);
    await user.deleteClaimAndVolume(claim);
    await world.assertNothingLeft();
  });

  it('each of two nodes takes the snapshots of its own volumes, and no other', async () => {
    await using world = await LoopWorld.open(plane, 'process', { snapshots: true });
    const { user } = world;
    await world.addNode({ nodeName: 'node-b', snapshots: true });
    const className = await makeClass(world);
    const classOfVolumes = await user.createClass();
    const made = await Promise.all(
      ['node-a', 'node-b', 'node-a', 'node-b'].map(async (node, index) => {
        const claim = await user.createClaim({ className: classOfVolumes, node });
        await user.untilBound(claim);
        const snapshot = await takeSnapshot(claim, className, `snap-${count}-${index}`);
        const content = await untilReady(world, snapshot);
        expect(content.metadata.labels).toMatchObject({ 'loam.dev/node': node });
        const handle = content.status?.snapshotHandle ?? '';
        const holders = world.nodes.filter(({ stack }) => stack.controller.holdsSnapshot(handle));
        expect(holders.map(({ nodeName }) => nodeName)).toEqual([node]);
        return { claim, snapshot, content, handle };
      }),
    );
    for (const { snapshot } of made) await user.delete('VolumeSnapshot', snapshot);
    for (const { content } of made) await user.untilGone('VolumeSnapshotContent', content);
    for (const { handle } of made)
      for (const { stack } of world.nodes) expect(stack.controller.holdsSnapshot(handle)).toBe(false);
    for (const { claim } of made) await user.deleteClaimAndVolume(claim);
    await world.assertNothingLeft();
  });

  it('a node that was away makes and deletes what was asked meanwhile', async () => {
    await using world = await LoopWorld.open(plane, 'process', { snapshots: true });
    const { user } = world;
    const claim = await boundClaim(world);
    const className = await makeClass(world);
    const kept = await takeSnapshot(claim, className, `kept-${count}`);
    const content = await untilReady(world, kept);
    await world.node.stop();
    await user.delete('VolumeSnapshot', kept);
    const wanted = await takeSnapshot(claim, className, `wanted-${count}`);
    await world.addNode({ snapshots: true });
    await user.untilGone('VolumeSnapshotContent', content);
    const made = await untilReady(world, wanted);
    await user.delete('VolumeSnapshot', wanted);
    await user.untilGone('VolumeSnapshotContent', made);
    await user.deleteClaimAndVolume(claim);
    await world.assertNothingLeft();
  });
});

describe.skipIf(why !== '')(`a cluster in which snapshots are installed later${why}`, () => {
  it('is served without them, quietly, and with them once they are there', async () => {
    await using plane = await startControlPlane('real');
    await using world = await LoopWorld.open(plane, 'process', { snapshots: true });
    const { user } = world;
    const claim = await user.createClaim({ className: await user.createClass(), node: 'node-a' });
    const volume = await user.untilBound(claim);
    expect(world.node.provisioner.isFresh()).toBe(true);
    const complaints = world.node.logLines.filter((line) => / (warn|error) /.test(line));
    expect(complaints).toEqual([]);
    await installSnapshotKinds(plane.kubeconfigPath);
    await plane.api.create(
      'VolumeSnapshotClass',
      {
        metadata: { name: 'late' },
        driver: user.driverName,
        deletionPolicy: 'Delete',
        parameters: { consistency: 'accept' },
      },
      soon(),
    );
    // as the snapshot-controller writes it
    const content = await plane.api.create(
      'VolumeSnapshotContent',
      {
        metadata: { name: 'late' },
        spec: {
          deletionPolicy: 'Delete',
          driver: user.driverName,
          source: { volumeHandle: volume.spec.csi?.volumeHandle ?? '' },
          volumeSnapshotClassName: 'late',
          volumeSnapshotRef: { namespace, name: 'late', uid: 'uid-late' },
        },
      },
      soon(),
    );
    await eventually(
      'the late content to be ready',
      async () => {
        const now = await user.find('VolumeSnapshotContent', content);
        if (now?.status?.readyToUse !== true) throw new NotYet(JSON.stringify(now?.status));
        return true;
      },
      75_000,
    );
  });
});
