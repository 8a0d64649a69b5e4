import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { aClaim, aStorageClass } from '../../support/kube-objects.ts';
import { aContent, aSnapshot, monday, old, theOldVolume } from '../claims/sources.ts';
import { World } from './world.ts';

/** Three nodes, of which node-b has the source and the least room. */
describe('placement of a claim with a source', () => {
  let world: World;
  beforeEach(async () => {
    world = new World();
    world.addNodes({ 'node-a': '100Gi', 'node-b': '10Gi', 'node-c': '100Gi' });
    for (const node of ['node-a', 'node-b', 'node-c'])
      world.publish(node, node === 'node-b' ? '10Gi' : '100Gi', 'wait');
    world.api.put('PersistentVolume', theOldVolume('node-b'));
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'old', uid: 'uid-old' },
        spec: { volumeName: 'pvc-uid-old' },
        status: { phase: 'Bound' },
      }),
    );
    world.api.put('VolumeSnapshot', aSnapshot());
    world.api.put('VolumeSnapshotContent', aContent({ metadata: { labels: { 'loam.dev/node': 'node-b' } } }));
  });
  afterEach(() => world.end());

  it.each([
    ['a restore that binds at once', monday, 'fast'],
    ['a clone that binds at once', old, 'fast'],
    ['a restore that would wait for its first pod', monday, 'wait'],
    ['a clone that would wait for its first pod', old, 'wait'],
  ])(
    'brings %s to the node that has it, though others have more room',
    async (_, dataSource, storageClassName) => {
      await world.start();
      world.claim('data', { dataSource, storageClassName });
      await world.pass(0);
      expect(world.nodeOf()).toBe('node-b');
      expect(world.api.peek('PersistentVolumeClaim', 'shop/data')?.metadata.labels?.['loam.dev/node']).toBe(
        'node-b',
      );
      expect(world.events()).toEqual([]);
    },
  );

  it('brings it there again where the scheduler had chosen another, which gave it back', async () => {
    await world.start();
    world.claim('data', { dataSource: monday, storageClassName: 'wait' }, 'node-c');
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-c');
    world.select('data', undefined);
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('reads the node off the volume that was captured where the content is not labelled', async () => {
    world.api.edit('VolumeSnapshotContent', 'c-monday', (it) => void (it.metadata.labels = {}));
    await world.start();
    world.claim('data', { dataSource: monday });
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('says that nobody knows the node where that volume is gone too', async () => {
    world.api.edit('VolumeSnapshotContent', 'c-monday', (it) => void (it.metadata.labels = {}));
    world.api.erase('PersistentVolume', 'pvc-uid-old');
    world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.metadata.finalizers = []));
    await world.start();
    world.claim('data', { dataSource: monday });
    await world.pass(60_000);
    expect(world.nodeOf()).toBeUndefined();
    expect(world.events()).toHaveLength(1);
    expect(world.events()[0]).toMatch(
      /not known which node has snapshot shop\/monday; .* no label loam\.dev\/node/,
    );
    world.api.edit(
      'VolumeSnapshotContent',
      'c-monday',
      (it) => void (it.metadata.labels = { 'loam.dev/node': 'node-b' }),
    );
    await world.pass(60_000);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('says what is wrong with the source, once, and goes on when it is right', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: false }),
    );
    await world.start();
    world.claim('data', { dataSource: monday });
    await world.pass(120_000);
    expect(world.events()).toEqual([
      'Warning ProvisioningFailed: snapshot shop/monday is not ready to use yet',
    ]);
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: true }),
    );
    await world.pass(60_000);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('goes on as soon as the source is ready, and not when its next look would be due', async () => {
    const ready = (isReady: boolean) => {
      world.api.edit(
        'VolumeSnapshot',
        'shop/monday',
        (it) => void (it.status = { ...it.status, readyToUse: isReady }),
      );
    };
    ready(false);
    world.api.edit('PersistentVolumeClaim', 'shop/old', (it) => {
      it.spec = {};
      it.status = { phase: 'Pending' };
    });
    await world.start();
    world.claim('data', { dataSource: monday });
    world.claim('other', { dataSource: old });
    await world.pass(120_000);
    expect([world.nodeOf(), world.nodeOf('other')]).toEqual([undefined, undefined]);
    ready(true);
    world.api.edit('PersistentVolumeClaim', 'shop/old', (it) => {
      it.spec = { volumeName: 'pvc-uid-old' };
      it.status = { phase: 'Bound' };
    });
    await world.pass(0);
    expect([world.nodeOf(), world.nodeOf('other')]).toEqual(['node-b', 'node-b']);
  });

  it('finds a node all the same where snapshots may not be watched', async () => {
    const refused = new ApiError(403, 'Forbidden', 'no');
    world.api.fail('list', 'VolumeSnapshot', refused, { times: 99 });
    await world.start();
    world.claim('data', { dataSource: monday });
    await world.pass(0);
    expect(world.nodeOf()).toBe('node-b');
  });

  const where =
    'Warning ProvisioningFailed: claim shop/old is on node-b, so that its copy of 5 GiB can only be made there: ';
  it.each<[string, string, (world: World) => void]>([
    [
      'has too little room',
      'node-b has 1 GiB; delete volumes there, or give it another pool',
      (it) => it.publish('node-b', '1Gi'),
    ],
    [
      'is cordoned',
      'node-b is cordoned; uncordon it',
      ({ api }) => api.edit('Node', 'node-b', (it) => void (it.spec = { unschedulable: true })),
    ],
    [
      'is not ready',
      'node-b is not ready; bring it back',
      ({ api }) =>
        api.edit(
          'Node',
          'node-b',
          (it) => void (it.status = { conditions: [{ type: 'Ready', status: 'False' }] }),
        ),
    ],
    [
      'lost the driver',
      'node-b does not run the driver; run the driver there',
      ({ api }) => api.edit('CSINode', 'node-b', (it) => void (it.spec.drivers = [])),
    ],
    [
      'is left out by the class',
      'node-b is left out by allowedTopologies; use a class that admits it',
      ({ api }) =>
        api.edit('StorageClass', 'fast', (it) => {
          it.allowedTopologies = [
            { matchLabelExpressions: [{ key: 'topology.loam.dev/node', values: ['node-a'] }] },
          ];
        }),
    ],
    [
      'is gone',
      'that node is not there, or never had the driver; bring it back, or copy from another source',
      ({ api }) => {
        api.erase('Node', 'node-b');
        api.erase('CSINode', 'node-b');
      },
    ],
  ])('sends it nowhere else where that node %s, and says so once', async (_, reason, change) => {
    change(world);
    await world.start();
    world.claim('data', { dataSource: old });
    await world.pass(120_000);
    expect(world.nodeOf()).toBeUndefined();
    expect(world.events()).toEqual([`${where}${reason}`]);
  });

  it('places it as soon as that node has room', async () => {
    world.publish('node-b', '1Gi');
    await world.start();
    world.claim('data', { dataSource: old });
    await world.pass(10_000);
    world.publish('node-b', '9Gi');
    await world.pass(1_000);
    expect(world.nodeOf()).toBe('node-b');
  });

  it('leaves a class of another driver alone', async () => {
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'other', uid: 'o' }, provisioner: 'other.dev' }),
    );
    await world.start();
    world.claim('data', { dataSource: old, storageClassName: 'other' });
    await world.pass(1_000);
    expect(world.nodeOf()).toBeUndefined();
    expect(world.events()).toEqual([]);
  });
});
