import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { contentName, creating, snapshotId, SnapshotWorld } from './snapshot-world.ts';

let world: SnapshotWorld;
beforeEach(() => {
  world = new SnapshotWorld();
});
afterEach(() => world.end());

const annotations = () => world.content()?.metadata.annotations ?? {};

describe('a content with a source on this node', () => {
  it('is marked and labelled, then made, then told, then unmarked, each once', async () => {
    world.driver.nowMs = () => 1_700_000_000_123;
    await world.run();
    world.put();
    await world.pass(0);
    expect(world.driver.snapshots.creates).toEqual([
      {
        name: 'snapshot-vs-1',
        sourceVolumeId: 'pvc-uid-1',
        parameters: {
          consistency: 'accept',
          'csi.storage.k8s.io/volumesnapshot/name': 'monday',
          'csi.storage.k8s.io/volumesnapshot/namespace': 'shop',
          'csi.storage.k8s.io/volumesnapshotcontent/name': contentName,
        },
      },
    ]);
    expect(world.writes()).toEqual(['mark', 'status', 'unmark']);
    expect(world.content()).toMatchObject({
      metadata: { labels: { 'loam.dev/node': 'node-a' }, annotations: {} },
      status: {
        snapshotHandle: snapshotId,
        creationTime: 1_700_000_000_123_000_000,
        restoreSize: 2 ** 30,
        readyToUse: true,
      },
    });
    expect(world.events().join()).not.toContain('Warning');
    await world.pass(20 * 60_000);
    expect(world.driver.snapshots.creates).toHaveLength(1);
    expect(world.writes()).toHaveLength(3);
  });

  it('is marked before the driver hears of it', async () => {
    const seen: unknown[] = [];
    world.driver.snapshots.onCreate = () => void seen.push(annotations()[creating]);
    world.put();
    await world.run();
    expect(seen).toEqual(['yes']);
  });

  it('is asked for again, less and less often, until it is ready, without a write in between', async () => {
    world.driver.snapshots.copyingAnswers = 5;
    world.put();
    await world.run();
    expect(world.content()?.status).toMatchObject({ snapshotHandle: snapshotId, readyToUse: false });
    expect(annotations()).not.toHaveProperty([creating]);
    const writes = world.writes().length;
    await world.pass(1_100);
    await world.pass(2_100);
    expect(world.driver.snapshots.creates).toHaveLength(3);
    await world.pass(1_000);
    expect(world.driver.snapshots.creates).toHaveLength(3);
    expect(world.writes()).toHaveLength(writes);
    await world.pass(60_000);
    expect(world.content()?.status?.readyToUse).toBe(true);
    expect(world.driver.snapshots.creates).toHaveLength(6);
    expect(world.events().join()).not.toContain('Warning');
  });

  it('tells time and size when it is ready, since one that is made anew meanwhile has others', async () => {
    world.driver.nowMs = () => 1_000;
    world.driver.snapshots.copyingAnswers = 1;
    world.put();
    await world.run();
    expect(world.content()?.status).toEqual({ snapshotHandle: snapshotId, readyToUse: false });
    world.driver.nowMs = () => 2_000;
    // the driver's process was killed, and the next one has removed what was half made
    world.driver.snapshots.byId.clear();
    world.driver.snapshots.copyingAnswers = 0;
    await world.pass(1_100);
    expect(world.content()?.status).toEqual({
      snapshotHandle: snapshotId,
      creationTime: 2_000_000_000,
      restoreSize: 2 ** 30,
      readyToUse: true,
    });
  });

  it('says on itself how consistent its snapshot is, where the driver tells', async () => {
    world.driver.snapshots.afterCreate = (made) => ({ ...made, consistency: 'loose' });
    world.put();
    await world.run();
    expect(annotations()).toEqual({ 'loam.dev/consistency': 'loose' });
    expect(world.writes()).toEqual(['mark', 'status', 'unmark']);
  });

  it('waits for its class, and is made as soon as that is there', async () => {
    world.api.erase('VolumeSnapshotClass', 'daily');
    world.put();
    await world.run();
    expect(world.content()).toMatchObject({
      // before anything else is written
      metadata: { labels: { 'loam.dev/node': 'node-a' } },
      status: {
        readyToUse: false,
        error: { message: expect.stringContaining('VolumeSnapshotClass daily is not there') as string },
      },
    });
    expect(world.writes()).toEqual(['label', 'error']);
    expect(world.events()).toEqual([
      'Warning SnapshotCreationFailed: Failed to create snapshot: VolumeSnapshotClass daily is not there; make it',
    ]);
    await world.pass(10_000);
    expect(world.driver.snapshots.creates).toEqual([]);
    world.api.put('VolumeSnapshotClass', {
      metadata: { name: 'daily' },
      driver: 'loam.dev',
      deletionPolicy: 'Delete',
    });
    await world.pass(0);
    expect(world.content()?.status).toEqual(expect.objectContaining({ readyToUse: true }));
    expect(world.content()?.status).not.toHaveProperty('error');
  });

  it('is refused with a class that has unknown reserved parameters, and is not told secrets', async () => {
    world.api.edit('VolumeSnapshotClass', 'daily', (daily) => {
      daily.parameters = { 'csi.storage.k8s.io/snapshotter-secret-name': 's', 'csi.storage.k8s.io/odd': 'x' };
    });
    world.put();
    await world.run();
    expect(world.driver.snapshots.creates).toEqual([]);
    expect(world.content()?.status?.error?.message).toContain('csi.storage.k8s.io/odd');
    world.api.edit('VolumeSnapshotClass', 'daily', (daily) => {
      delete daily.parameters?.['csi.storage.k8s.io/odd'];
    });
    await world.pass(0);
    expect(Object.keys(world.driver.snapshots.creates[0]?.parameters ?? {})).not.toContain(
      'csi.storage.k8s.io/snapshotter-secret-name',
    );
  });

  it.each([
    ['INVALID_ARGUMENT', true],
    ['FAILED_PRECONDITION', true],
    ['RESOURCE_EXHAUSTED', true],
    ['NOT_FOUND', true],
    ['UNAVAILABLE', false],
    ['DEADLINE_EXCEEDED', false],
  ] as const)(
    'tells why after %s, and keeps its mark only while something may be made',
    async (code, isFinal) => {
      world.driver.snapshots.onCreate = () => {
        throw new CsiError(code, 'no');
      };
      world.put();
      await world.run();
      expect(annotations()[creating]).toBe(isFinal ? undefined : 'yes');
      expect(world.content()?.status?.readyToUse).toBe(false);
      expect(world.content()?.status?.error?.message).toMatch(
        /^Failed to create snapshot: rpc error: code = \w+ desc = no$/,
      );
      expect(world.events()).toHaveLength(1);
      await world.pass(5_000);
      const asked = world.driver.snapshots.creates.length;
      expect(asked).toBeGreaterThanOrEqual(3);
      expect(asked).toBeLessThanOrEqual(4);
      expect(world.writes().filter((write) => write === 'error')).toHaveLength(1);
      world.driver.snapshots.onCreate = undefined;
      await world.pass(30_000);
      expect(world.content()?.status).toMatchObject({ readyToUse: true });
      expect(world.content()?.status).not.toHaveProperty('error');
      expect(annotations()).not.toHaveProperty([creating]);
    },
  );

  it('takes ABORTED for work in progress: no error, no Event', async () => {
    world.driver.snapshots.onCreate = () => {
      throw new CsiError('ABORTED', 'busy');
    };
    world.put();
    await world.run();
    await world.pass(10_000);
    expect(world.content()?.status).toBeUndefined();
    expect(world.events()).toEqual([]);
    expect(annotations()[creating]).toBe('yes');
  });

  it('gives up a driver that does not answer for a minute, and asks again', async () => {
    world.driver.snapshots.onCreate = () => new Promise(() => {});
    world.put();
    await world.run();
    await world.pass(59_000);
    expect(world.content()?.status).toBeUndefined();
    world.driver.snapshots.onCreate = undefined;
    await world.pass(1_500);
    expect(world.content()?.status?.error?.message).toContain('DeadlineExceeded');
    await world.pass(2_000);
    expect(world.content()?.status?.readyToUse).toBe(true);
  });
});
