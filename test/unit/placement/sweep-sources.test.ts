import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { aContent, aSnapshot, monday, old, theOldVolume } from '../claims/sources.ts';
import { World } from './world.ts';

const protections = {
  snapshot: 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection',
  clone: 'provisioner.storage.kubernetes.io/cloning-protection',
};
const kinds = ['snapshot', 'clone'] as const;
const sources = { snapshot: monday, clone: old };
const sweepMs = 5 * 60_000;

/** Claim `old` and snapshot `monday` of it lie on node-b, whose process has protected them. */
describe('what a node has protected while it made copies', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.addNodes({ 'node-a': '100Gi', 'node-b': '10Gi' });
    world.api.put('PersistentVolume', theOldVolume('node-b'));
    world.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'old', uid: 'uid-old', finalizers: ['example.dev/stay', protections.clone] },
        spec: { volumeName: 'pvc-uid-old' },
        status: { phase: 'Bound' },
      }),
    );
    const finalizers = ['example.dev/stay', protections.snapshot];
    world.api.put('VolumeSnapshot', aSnapshot({ metadata: { finalizers } }));
    world.api.put('VolumeSnapshotContent', aContent({ metadata: { labels: { 'loam.dev/node': 'node-b' } } }));
  });
  afterEach(() => world.end());

  const isProtected = (kind: (typeof kinds)[number]): boolean => {
    const found =
      kind === 'snapshot'
        ? world.api.peek('VolumeSnapshot', 'shop/monday')
        : world.api.peek('PersistentVolumeClaim', 'shop/old');
    expect(found?.metadata.finalizers).toContain('example.dev/stay');
    return found?.metadata.finalizers?.includes(protections[kind]) === true;
  };

  it.each(kinds)('is let go when the node is gone and nobody waits for a copy: %s', async (kind) => {
    await world.start();
    await world.pass(sweepMs);
    expect(isProtected(kind)).toBe(true);
    world.api.erase('Node', 'node-b');
    await world.pass(sweepMs);
    expect(isProtected(kind)).toBe(false);
    expect(world.counted).toContain(`loam_protections_ended_total ${kind === 'clone' ? 'claim' : kind}`);
  });

  it.each(kinds)('is let go when the node has been away for the limit, and not before: %s', async (kind) => {
    await world.start();
    await world.pass(sweepMs - 60_000);
    world.api.erase('CSINode', 'node-b');
    await world.pass(60_000);
    expect(isProtected(kind)).toBe(true);
    await world.pass(sweepMs);
    expect(isProtected(kind)).toBe(false);
  });

  it.each(kinds)(
    'stays while a claim waits for that node, and goes when it is another node’s: %s',
    async (kind) => {
      await world.start();
      world.api.erase('Node', 'node-b');
      world.claim('copy', { dataSource: sources[kind] });
      await world.pass(2 * sweepMs);
      expect(isProtected(kind)).toBe(true);
      world.select('copy', 'node-a');
      await world.pass(sweepMs);
      expect(isProtected(kind)).toBe(false);
    },
  );

  it.each(kinds)('stays while a claim that is that node’s own has no volume yet: %s', async (kind) => {
    await world.start();
    world.api.erase('Node', 'node-b');
    // of a class that is not there at the moment, so that it is not taken from its node
    world.claim('copy', { dataSource: sources[kind], storageClassName: 'away' }, 'node-b');
    await world.pass(2 * sweepMs);
    expect(isProtected(kind)).toBe(true);
  });

  it('is not touched where it is of another driver, or nobody knows the node', async () => {
    world.api.edit('VolumeSnapshotContent', 'c-monday', (it) => void (it.spec.driver = 'other.dev'));
    world.api.edit('PersistentVolume', 'pvc-uid-old', (it) => void (it.spec.nodeAffinity = {}));
    world.api.erase('Node', 'node-b');
    await world.start();
    await world.pass(2 * sweepMs);
    for (const kind of kinds) expect(isProtected(kind)).toBe(true);
  });

  it('is tried again after a failure, and not where it is forbidden or the kind is not there', async () => {
    world.api.erase('Node', 'node-b');
    world.api.fail('patch', 'PersistentVolumeClaim', new ApiError(500, 'InternalError', 'no'));
    world.api.fail('patch', 'VolumeSnapshot', new ApiError(403, 'Forbidden', 'no'));
    await world.start();
    await world.pass(sweepMs);
    for (const kind of kinds) expect(isProtected(kind)).toBe(true);
    await world.pass(2 * sweepMs);
    for (const kind of kinds) expect(isProtected(kind)).toBe(false);
  });
});

describe('a snapshot that is to be taken', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.addNodes({ 'node-a': '100Gi' });
    const creationTimestamp = new Date(world.clock.nowMs()).toISOString();
    const content = aContent({ metadata: { creationTimestamp, labels: {} } });
    delete content.status;
    world.api.put('VolumeSnapshotContent', content);
    world.api.put('VolumeSnapshot', aSnapshot());
  });
  afterEach(() => world.end());
  const text =
    "Warning SnapshotSourceMissing: its source, volume pvc-uid-old, is on no node: there is no PersistentVolume of it, and no node has taken the snapshot; delete the snapshot, or bring the volume's disk back";

  it('is told, as is its content, that no node has its source', async () => {
    await world.start();
    await world.pass(sweepMs);
    expect(world.events()).toEqual([text, text]);
    expect(world.api.all('Event').map(({ involvedObject: { kind, name } }) => `${kind} ${name}`)).toEqual([
      'VolumeSnapshotContent c-monday',
      'VolumeSnapshot monday',
    ]);
  });

  it.each<[string, (world: World) => void]>([
    [
      'a PersistentVolume of any name stands for its source',
      ({ api }) => {
        const volume = theOldVolume();
        api.put('PersistentVolume', { ...volume, metadata: { ...volume.metadata, name: 'made-beforehand' } });
      },
    ],
    [
      'a node has taken it',
      ({ api }) =>
        api.edit('VolumeSnapshotContent', 'c-monday', ({ metadata }) => {
          metadata.labels = { 'loam.dev/node': 'node-a' };
        }),
    ],
    [
      'it is another driver’s',
      ({ api }) => api.edit('VolumeSnapshotContent', 'c-monday', (it) => void (it.spec.driver = 'other.dev')),
    ],
    [
      'it is as good as new',
      ({ api }) =>
        api.edit('VolumeSnapshotContent', 'c-monday', ({ metadata }) => {
          metadata.creationTimestamp = new Date(
            Date.parse(metadata.creationTimestamp ?? '') + 200_000,
          ).toISOString();
        }),
    ],
    [
      'there are no snapshots in the cluster',
      ({ api }) => {
        api.fail('list', 'VolumeSnapshotContent', new ApiError(404, 'NotFound', '404 page not found'), {
          times: 9,
        });
      },
    ],
  ])('is told nothing where %s', async (_, change) => {
    change(world);
    await world.start();
    await world.pass(sweepMs);
    expect(world.events()).toEqual([]);
  });
});
