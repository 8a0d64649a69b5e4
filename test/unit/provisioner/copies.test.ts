import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import type { PersistentVolumeClaim, TypedReference } from '../../../src/kube/objects.ts';
import type { DriverSnapshot } from '../../../src/model/csi-driver.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { progressMs } from '../../../src/provisioner/provision-reports.ts';
import { lingerMs } from '../../../src/provisioner/protect-source.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { aContent, aSnapshot, monday, old, theOldVolume } from '../claims/sources.ts';
import { World } from './world.ts';

const selectedNode = 'volume.kubernetes.io/selected-node';
const restoring = 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection';
const cloning = 'provisioner.storage.kubernetes.io/cloning-protection';

/** A claim `old` with its volume and a snapshot `monday` of it, on node-a. */
describe('a claim with a source', () => {
  let world: World;
  let snapshot: DriverSnapshot;
  beforeEach(() => {
    world = new World();
    world.driver.make({
      name: 'pvc-uid-old',
      capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
    });
    void world.driver.acknowledge('pvc-uid-old');
    snapshot = world.driver.snapshots.make({
      name: 'snap-1',
      sourceVolumeId: 'pvc-uid-old',
      parameters: {},
    });
    world.api.put('PersistentVolume', theOldVolume());
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'old', uid: 'uid-old' },
        spec: { volumeName: 'pvc-uid-old' },
        status: { phase: 'Bound' },
      }),
    );
    world.api.put('VolumeSnapshot', aSnapshot());
    world.api.put('VolumeSnapshotContent', aContent({ status: { snapshotHandle: snapshot.snapshotId } }));
  });
  afterEach(() => world.end());

  const wish = (
    dataSource: TypedReference,
    parts: Parameters<typeof aClaim>[0] = {},
  ): PersistentVolumeClaim => world.claim({ ...parts, spec: { dataSource, ...parts.spec } });
  const sourceOf = (kind: 'snapshot' | 'clone') => (kind === 'snapshot' ? monday : old);
  const finalizersOf = (kind: 'snapshot' | 'clone') =>
    (kind === 'snapshot'
      ? world.api.peek('VolumeSnapshot', 'shop/monday')
      : world.api.peek('PersistentVolumeClaim', 'shop/old')
    )?.metadata.finalizers ?? [];
  const kinds = ['snapshot', 'clone'] as const;
  const protectionOf = { snapshot: restoring, clone: cloning };

  it.each(kinds)('is made of it at once, and the source is protected meanwhile: %s', async (kind) => {
    await world.start();
    const seen: string[][] = [];
    world.driver.onCreate = () => void seen.push(finalizersOf(kind));
    wish(sourceOf(kind));
    await world.pass(0);
    expect(world.driver.creates.at(-1)?.contentSource).toEqual(
      kind === 'snapshot'
        ? { kind: 'snapshot', snapshotId: snapshot.snapshotId }
        : { kind: 'volume', volumeId: 'pvc-uid-old' },
    );
    expect(seen).toEqual([[protectionOf[kind]]]);
    expect(world.volume()?.spec.csi?.volumeHandle).toBe('pvc-uid-1');
    expect(world.driver.unacknowledged()).toEqual([]);
    await world.pass(lingerMs);
    expect(finalizersOf(kind)).toEqual([]);
  });

  it.each(kinds)(
    'keeps the protection while any claim is made of it, and protects it once: %s',
    async (kind) => {
      await world.start();
      const gate = Promise.withResolvers<void>();
      world.driver.onCreate = ({ name }) => (name === 'pvc-uid-2' ? gate.promise : undefined);
      wish(sourceOf(kind));
      wish(sourceOf(kind), { metadata: { name: 'second', uid: 'uid-2' } });
      await world.pass(5_000);
      expect(world.volume('pvc-uid-1')).toBeDefined();
      expect(finalizersOf(kind)).toEqual([protectionOf[kind]]);
      gate.resolve();
      await world.pass(5_000);
      expect(world.volume('pvc-uid-2')).toBeDefined();
      expect(finalizersOf(kind)).toEqual([]);
      const kindName = kind === 'snapshot' ? 'VolumeSnapshot' : 'PersistentVolumeClaim';
      const name = kind === 'snapshot' ? 'monday' : 'old';
      const writes = world.api.calls.filter(
        (call) => call.verb === 'patch' && call.kind === kindName && call.name === name,
      );
      // on, for both (the second may find itself overtaken), and off
      expect(writes.length).toBeLessThanOrEqual(4);
    },
  );

  it('leaves the finalizers of others alone', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.metadata.finalizers = ['example.dev/stay']),
    );
    await world.start();
    wish(monday);
    await world.pass(lingerMs);
    expect(world.volume()).toBeDefined();
    expect(finalizersOf('snapshot')).toEqual(['example.dev/stay']);
  });

  it('is made all the same where the source may not be protected', async () => {
    await world.start();
    world.api.fail('patch', 'VolumeSnapshot', new ApiError(403, 'Forbidden', 'no'), { times: 9 });
    wish(monday);
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  });

  it('is not made where the protection could not be written, and tried again', async () => {
    await world.start();
    world.api.fail('patch', 'VolumeSnapshot', new ApiError(500, 'InternalError', 'no'));
    wish(monday);
    await world.pass(0);
    expect(world.driver.creates).toEqual([]);
    await world.pass(1_000);
    expect(world.volume()).toBeDefined();
  });

  it('is told why its source cannot be had, and served soon after it can', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: false }),
    );
    await world.start();
    wish(monday);
    await world.pass(60_000);
    expect(world.driver.creates).toEqual([]);
    expect(world.events().at(-1)).toBe(
      'Warning ProvisioningFailed: failed to provision volume with StorageClass "fast": snapshot shop/monday is not ready to use yet',
    );
    expect(world.events()).toHaveLength(2);
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: true }),
    );
    await world.pass(15_000);
    expect(world.volume()).toBeDefined();
  });

  it('is looked at again when its snapshot becomes ready, and not when its next look would be due', async () => {
    const ready = (isReady: boolean) => {
      world.api.edit(
        'VolumeSnapshotContent',
        'c-monday',
        (it) => void (it.status = { ...it.status, readyToUse: isReady }),
      );
    };
    const say = (isReady: boolean) => {
      world.api.edit(
        'VolumeSnapshot',
        'shop/monday',
        (it) => void (it.status = { ...it.status, readyToUse: isReady }),
      );
    };
    ready(false);
    say(false);
    await world.start({ snapshots: true });
    wish(monday);
    await world.pass(120_000);
    expect(world.driver.creates).toEqual([]);
    ready(true);
    await world.pass(100);
    // the snapshot-controller follows a moment later
    say(true);
    await world.pass(400);
    expect(world.volume()).toBeDefined();
  });

  it('is looked at again when the claim that it clones is bound', async () => {
    const phase = (name: 'Pending' | 'Bound') =>
      world.api.edit('PersistentVolumeClaim', 'shop/old', (it) => void (it.status = { phase: name }));
    phase('Pending');
    await world.start();
    wish(old);
    await world.pass(120_000);
    expect(world.driver.creates).toEqual([]);
    phase('Bound');
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  });

  it('is asked for less and less often where the driver answers at once that it copies', async () => {
    await world.start();
    let asked = 0;
    world.driver.onCreate = () => {
      asked += 1;
      throw new CsiError('ABORTED', 'an operation with this id is under way');
    };
    wish(old);
    await world.pass(30_000);
    expect(asked).toBeGreaterThan(3);
    expect(asked).toBeLessThan(10);
  });

  it.each<[string, RegExp, (world: World) => void]>([
    [
      'no snapshot of that name is there',
      /snapshot shop\/monday is not there$/,
      (it) => it.api.erase('VolumeSnapshot', 'shop/monday'),
    ],
    [
      'the cluster knows no snapshots',
      /external-snapshotter is not installed/,
      ({ api }) =>
        api.fail('get', 'VolumeSnapshot', new ApiError(404, 'NotFound', '404 page not found'), { times: 99 }),
    ],
  ])('is told so where %s', async (_, reason, change) => {
    change(world);
    await world.start();
    wish(monday);
    await world.pass(5_000);
    expect(world.events().at(-1)).toMatch(reason);
    expect(world.driver.creates).toEqual([]);
  });

  it('is told of progress now and then while it is copied, and nothing of failure', async () => {
    await world.start();
    let percent = 0;
    world.driver.onCreate = async () => {
      await world.clock.sleep(9_000, new AbortController().signal);
      percent += 10;
      if (percent < 100)
        throw new CsiError('ABORTED', `volume pvc-uid-1 is being copied: ${percent} % so far`);
    };
    wish(old);
    await world.pass(91_000);
    await world.pass(5_000);
    expect(world.volume()).toBeDefined();
    expect(world.events().filter((text) => text.startsWith('Warning'))).toEqual([]);
    const progress = world.events().filter((text) => text.startsWith('Normal ProvisioningCopies'));
    expect(progress).toHaveLength(Math.ceil(90_000 / progressMs));
    expect(world.driver.creates).toHaveLength(10);
    expect(world.counted).not.toContain('controller_persistentvolumeclaim_provision_failed_total');
  });

  it('deletes and makes anew what the driver made without saying of what', async () => {
    await world.start();
    world.driver.afterCreate = (made) => {
      world.driver.afterCreate = undefined;
      const { contentSource: _, ...rest } = made;
      return rest;
    };
    wish(old);
    await world.pass(0);
    expect(world.volume()).toBeUndefined();
    expect(world.driver.deletes.map(({ volumeId }) => volumeId)).toEqual(['pvc-uid-1']);
    await world.pass(1_000);
    expect(world.volume()).toBeDefined();
    expect(world.driver.creates).toHaveLength(2);
  });

  describe('on another node', () => {
    beforeEach(() => {
      world.driver.volumes.clear();
      world.driver.snapshots.byId.clear();
      world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.spec = theOldVolume('node-b').spec));
      world.api.edit(
        'VolumeSnapshotContent',
        'c-monday',
        (it) => void (it.metadata.labels = { 'loam.dev/node': 'node-b' }),
      );
    });
    const claimNow = () => world.api.peek('PersistentVolumeClaim', 'shop/data');

    it.each(kinds)('is given back before the driver is asked: %s', async (kind) => {
      await world.start();
      wish(sourceOf(kind));
      await world.pass(5_000);
      expect(claimNow()?.metadata.annotations?.[selectedNode]).toBeUndefined();
      expect(world.driver.creates).toEqual([]);
      const what = kind === 'snapshot' ? 'snapshot shop/monday' : 'claim shop/old';
      expect(world.events()).toEqual([
        `Normal NodeUnselected: ${what} is on node node-b, and a copy can only be made there: the claim does not wait for node-a any longer`,
      ]);
      expect(finalizersOf(kind)).toEqual([]);
    });

    it('is told so where nobody would choose another node', async () => {
      world.api.put(
        'StorageClass',
        aStorageClass({ metadata: { name: 'now', uid: 'c2' }, volumeBindingMode: 'Immediate' }),
      );
      await world.start({ immediateOnThisNode: true });
      wish(old, { spec: { storageClassName: 'now' } });
      await world.pass(1_000);
      expect(world.events().at(-1)).toMatch(/claim shop\/old is on node node-b, .*; node-a was selected/);
    });

    it.each(kinds)('is left to that node where no node was chosen: %s', async (kind) => {
      world.api.put(
        'StorageClass',
        aStorageClass({ metadata: { name: 'now', uid: 'c2' }, volumeBindingMode: 'Immediate' }),
      );
      await world.start({ immediateOnThisNode: true });
      wish(sourceOf(kind), { metadata: { annotations: {} }, spec: { storageClassName: 'now' } });
      await world.pass(60_000);
      expect(world.events()).toEqual([]);
      expect(world.driver.creates).toEqual([]);
    });

    it('is served here all the same where this disk has what the label says is elsewhere', async () => {
      world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.spec = theOldVolume('node-a').spec));
      world.driver.make({
        name: 'pvc-uid-old',
        capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
        capabilities: [],
        parameters: {},
      });
      world.driver.snapshots.make({ name: 'snap-1', sourceVolumeId: 'pvc-uid-old', parameters: {} });
      await world.start();
      wish(monday);
      await world.pass(0);
      expect(world.volume()).toBeDefined();
    });
  });

  describe('whose process died', () => {
    it.each(kinds)(
      'with the source protected: the next one’s sweep ends that where nobody wants it: %s',
      async (kind) => {
        const dying = await world.start({}, { isMortal: true });
        world.driver.onCreate = () => new Promise(() => {});
        wish(sourceOf(kind));
        await world.pass(0);
        expect(finalizersOf(kind)).toEqual([protectionOf[kind]]);
        void dying.stop();
        world.driver.onCreate = undefined;
        world.api.erase('PersistentVolumeClaim', 'shop/data');
        await world.start();
        await world.pass(1_000);
        expect(finalizersOf(kind)).toEqual([]);
      },
    );

    it.each(kinds)(
      'while it was copied: it is copied by the next, and the protection ends with it: %s',
      async (kind) => {
        const dying = await world.start({}, { isMortal: true });
        world.driver.onCreate = () => new Promise(() => {});
        wish(sourceOf(kind));
        await world.pass(0);
        void dying.stop();
        const gate = Promise.withResolvers<void>();
        world.driver.onCreate = () => gate.promise;
        await world.start();
        await world.pass(5_000);
        expect(finalizersOf(kind)).toEqual([protectionOf[kind]]);
        gate.resolve();
        await world.pass(lingerMs);
        expect(world.volume()).toBeDefined();
        expect(finalizersOf(kind)).toEqual([]);
      },
    );

    it('after the PV: the next one takes the finalizer off in a sweep', async () => {
      const dying = await world.start({}, { isMortal: true });
      wish(monday);
      await world.pass(0);
      expect(world.volume()).toBeDefined();
      void dying.stop();
      expect(finalizersOf('snapshot')).toEqual([restoring]);
      world.bind();
      await world.start();
      await world.pass(0);
      expect(finalizersOf('snapshot')).toEqual([]);
    });
  });

  it('keeps what others protect for claims that wait, and snapshots of other drivers', async () => {
    world.api.edit('VolumeSnapshot', 'shop/monday', (it) => void (it.metadata.finalizers = [restoring]));
    world.api.put(
      'VolumeSnapshot',
      aSnapshot({
        metadata: { name: 'foreign', uid: 'vs-2', finalizers: [restoring] },
        status: { boundVolumeSnapshotContentName: 'c-foreign' },
      }),
    );
    world.api.put(
      'VolumeSnapshotContent',
      aContent({ metadata: { name: 'c-foreign' }, spec: { driver: 'other.dev' } }),
    );
    wish(monday, { metadata: { annotations: { [selectedNode]: 'node-b' } } });
    await world.start();
    await world.pass(5 * 60_000);
    expect(finalizersOf('snapshot')).toEqual([restoring]);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5 * 60_000);
    expect(finalizersOf('snapshot')).toEqual([]);
    expect(world.api.peek('VolumeSnapshot', 'shop/foreign')?.metadata.finalizers).toEqual([restoring]);
  });

  it('undoes a copy whose claim is deleted meanwhile, and lets go of the source', async () => {
    await world.start();
    world.driver.afterCreate = () => {
      throw new CsiError('ABORTED', 'still being copied');
    };
    wish(old);
    await world.pass(0);
    expect(finalizersOf('clone')).toEqual([cloning]);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-old']);
    expect(finalizersOf('clone')).toEqual([]);
  });

  it('ends a copy that stands in no record yet, when its claim is deleted meanwhile', async () => {
    await world.start();
    world.driver.onCreate = () => {
      throw new CsiError('ABORTED', 'still being copied');
    };
    wish(old);
    await world.pass(0);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5_000);
    expect(world.driver.deletes.map(({ volumeId }) => volumeId)).toEqual(['pvc-uid-1']);
    const asked = world.driver.creates.length;
    await world.pass(60_000);
    expect(world.driver.creates).toHaveLength(asked);
  });
});
