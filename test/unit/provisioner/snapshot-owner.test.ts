import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { contentName, creating, finalizer, snapshotId, SnapshotWorld } from './snapshot-world.ts';

let world: SnapshotWorld;
beforeEach(() => {
  world = new SnapshotWorld();
});
afterEach(() => world.end());

const annotations = () => world.content()?.metadata.annotations ?? {};

const nodeAffinityTo = (node: string) => ({
  required: {
    nodeSelectorTerms: [
      { matchExpressions: [{ key: 'topology.loam.dev/node', operator: 'In', values: [node] }] },
    ],
  },
});

describe('a content that is none of ours', () => {
  it.each([
    ["another driver's", { spec: { driver: 'other.dev' } }],
    [
      'one of a group',
      { metadata: { annotations: { 'groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle': 'g' } } },
    ],
    ['of a volume that nobody knows', { spec: { source: { volumeHandle: 'pvc-lost' } } }],
    ['of a snapshot that is not here', { spec: { source: { snapshotHandle: 'snap_lost' } } }],
  ])('is left alone: %s', async (_case, parts) => {
    world.put(parts);
    await world.run();
    world.deleteSnapshot();
    await world.pass(20 * 60_000);
    expect(world.writes()).toEqual([]);
    expect([world.driver.snapshots.creates, world.driver.snapshots.deletes]).toEqual([[], []]);
    expect(world.content()?.metadata.finalizers).toEqual([finalizer]);
  });

  it('is left alone where its class is of another driver', async () => {
    world.api.edit('VolumeSnapshotClass', 'daily', (daily) => void (daily.driver = 'other.dev'));
    world.put();
    await world.run();
    expect(world.writes()).toEqual([]);
  });

  it('is left alone where the PV of its source is on another node, whatever its label says and the disk holds', async () => {
    world.api.edit('PersistentVolume', 'pvc-uid-1', (volume) => {
      volume.spec.nodeAffinity = nodeAffinityTo('node-b');
    });
    world.put({ metadata: { labels: { 'loam.dev/node': 'node-a' } }, status: { snapshotHandle: 'snap_b' } });
    await world.run();
    world.deleteSnapshot();
    await world.pass(60_000);
    expect([world.writes(), world.driver.snapshots.deletes]).toEqual([[], []]);
  });
});

describe('a snapshot that came here with its disk', () => {
  const ready = { snapshotHandle: snapshotId, readyToUse: true };
  const labelOf = () => world.content()?.metadata.labels?.['loam.dev/node'];
  beforeEach(() => {
    world.driver.snapshots.make({ name: 'snapshot-vs-1', sourceVolumeId: 'pvc-uid-1', parameters: {} });
  });

  it('is told of where its content has the label of another node, and taken when that is off', async () => {
    world.put({ metadata: { labels: { 'loam.dev/node': 'node-b' } }, status: ready });
    await world.run();
    await world.pass(60 * 60_000);
    expect(world.writes()).toEqual([]);
    const told = world.api.all('Event').map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
    expect(told).toEqual([
      `Warning SnapshotElsewhere: snapshot ${snapshotId} lies on node node-a, and the label loam.dev/node names node-b: take the label off where the disk was moved, and this node puts its own there`,
    ]);
    world.api.edit('VolumeSnapshotContent', contentName, ({ metadata }) => void (metadata.labels = {}));
    await world.pass(0);
    expect(labelOf()).toBe('node-a');
  });

  it('is not taken, nor told of, by who does not have it', async () => {
    world.put({ metadata: { labels: {} }, status: { snapshotHandle: 'snap_other', readyToUse: true } });
    await world.run();
    await world.pass(60_000);
    expect([labelOf(), world.api.all('Event')]).toEqual([undefined, []]);
  });
});

describe('a content whose source is no volume of this disk', () => {
  it('is told so by the node that its PV names', async () => {
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'pv-gone', uid: 'pv-2' },
        spec: { csi: { driver: 'loam.dev', volumeHandle: 'pvc-gone' } },
      }),
    );
    world.put({ spec: { source: { volumeHandle: 'pvc-gone' } } });
    await world.run();
    expect(world.content()?.status?.error?.message).toContain('NotFound');
    expect(annotations()).not.toHaveProperty([creating]);
  });

  it('is taken up when the PV comes later', async () => {
    world.put({ spec: { source: { volumeHandle: 'pvc-gone' } } });
    await world.run();
    expect(world.writes()).toEqual([]);
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'pv-gone', uid: 'pv-2' },
        spec: { csi: { driver: 'loam.dev', volumeHandle: 'pvc-gone' } },
      }),
    );
    await world.pass(0);
    expect(world.content()?.status?.error?.message).toContain('NotFound');
  });
});

describe('a snapshot that was made beforehand', () => {
  const parts = {
    spec: {
      source: { snapshotHandle: 'snap_old' },
      volumeSnapshotRef: { namespace: 'shop', name: 'monday' },
    },
  };

  beforeEach(() => {
    world.driver.nowMs = () => 1_000;
    world.driver.snapshots.make({ name: 'old', sourceVolumeId: 'pvc-uid-1', parameters: {} });
  });

  it('is found, labelled and ready', async () => {
    world.put(parts);
    await world.run();
    expect(world.content()).toMatchObject({
      metadata: { labels: { 'loam.dev/node': 'node-a' } },
      status: { snapshotHandle: 'snap_old', readyToUse: true, restoreSize: 2 ** 30, creationTime: 1e9 },
    });
    expect(world.driver.snapshots.lists).toEqual([
      { maxEntries: 0, startingToken: '', snapshotId: 'snap_old' },
    ]);
    expect(world.driver.snapshots.creates).toEqual([]);
    expect(world.writes()).toEqual(['label', 'status']);
  });

  it('needs no class', async () => {
    const { volumeSnapshotClassName: _, ...spec } = { ...parts.spec, volumeSnapshotClassName: '' };
    world.api.erase('VolumeSnapshotClass', 'daily');
    world.put({ spec });
    await world.run();
    expect(world.content()?.status?.readyToUse).toBe(true);
  });

  it('is missed by the node that had it', async () => {
    world.driver.snapshots.byId.clear();
    world.put({ ...parts, metadata: { labels: { 'loam.dev/node': 'node-a' } } });
    await world.run();
    expect(world.events()).toEqual([
      'Warning SnapshotContentCheckandUpdateFailed: Failed to check and update snapshot content: there is no snapshot snap_old on this node',
    ]);
    expect(world.content()?.status).toMatchObject({ readyToUse: false });
  });

  it('goes when it is deleted unbound, as its policy says', async () => {
    world.put(parts);
    await world.run();
    world.api.erase('VolumeSnapshotContent', contentName);
    await world.pass(0);
    expect(world.content()).toBeUndefined();
    expect(world.driver.snapshots.deletes).toEqual(['snap_old']);
  });

  it('stays on the disk when it is to be retained', async () => {
    world.put({ spec: { ...parts.spec, deletionPolicy: 'Retain' } });
    await world.run();
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.content()).toBeUndefined();
    expect(world.driver.snapshots.deletes).toEqual([]);
    expect(world.driver.holdsSnapshot('snap_old')).toBe(true);
  });
});

describe("another's driver", () => {
  const foreign = { snapshots: true, driverName: 'configured.dev' };
  const label = { 'loam.dev/node': 'node-a' };

  beforeEach(() => {
    // its PVs have our label and topology keys of its own
    world.api.edit('PersistentVolume', 'pvc-uid-1', (volume) => {
      delete volume.spec.nodeAffinity;
      volume.metadata.labels = label;
    });
  });

  it('is told no metadata, and keeps the mark while it is full: it may go on', async () => {
    world.driver.snapshots.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'full');
    };
    world.put();
    await world.start(foreign);
    expect(world.driver.snapshots.creates[0]?.parameters).toEqual({ consistency: 'accept' });
    expect(annotations()[creating]).toBe('yes');
  });

  it('tells its time and size with the first answer, when it is cut: its source may go on from then', async () => {
    world.driver.nowMs = () => 1_000;
    world.driver.snapshots.copyingAnswers = 5;
    world.put();
    await world.start(foreign);
    expect(world.content()?.status).toEqual({
      snapshotHandle: snapshotId,
      creationTime: 1e9,
      restoreSize: 2 ** 30,
      readyToUse: false,
    });
  });

  it('is believed to have what was made beforehand where it cannot list', async () => {
    world.driver.capabilities = new Set(['CREATE_DELETE_VOLUME', 'CREATE_DELETE_SNAPSHOT']);
    world.put({ metadata: { labels: label }, spec: { source: { snapshotHandle: 'theirs' } } });
    await world.start(foreign);
    expect(world.driver.snapshots.lists).toEqual([]);
    expect(world.content()?.status).toMatchObject({ snapshotHandle: 'theirs', readyToUse: true });
    expect(world.content()?.status).not.toHaveProperty('restoreSize');
  });

  it('is left alone where it takes no snapshots', async () => {
    world.driver.capabilities = new Set(['CREATE_DELETE_VOLUME']);
    world.put();
    await world.start(foreign);
    expect([world.driver.snapshots.creates, world.writes()]).toEqual([[], []]);
  });
});
