import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { contentName, creating, snapshotId, SnapshotWorld } from './snapshot-world.ts';

let world: SnapshotWorld;
beforeEach(() => {
  world = new SnapshotWorld();
});
afterEach(() => world.end());

const annotations = () => world.content()?.metadata.annotations ?? {};

describe('trouble with the API server', () => {
  it.each([
    ['mark', 1],
    ['status', 2],
    ['unmark', 3],
  ] as const)('goes on after a conflict at %s', async (_step, count) => {
    failPatch(count);
    world.put();
    await world.run();
    await world.pass(5_000);
    expect(world.content()?.status).toMatchObject({ snapshotHandle: snapshotId, readyToUse: true });
    expect(annotations()).not.toHaveProperty([creating]);
    expect(world.driver.snapshots.byId.size).toBe(1);
    expect(world.events().join()).not.toContain('Warning');
  });

  function failPatch(count: number): void {
    world.api.before('patch', 'VolumeSnapshotContent', () => {
      if (count > 1) return failPatch(count - 1);
      world.api.fail('patch', 'VolumeSnapshotContent', new ApiError(409, 'Conflict', 'somebody else wrote'));
    });
  }

  it('judges anew what was changed while it was to be marked', async () => {
    world.put();
    world.api.before('patch', 'VolumeSnapshotContent', () => world.deleteSnapshot());
    await world.run();
    await world.pass(5_000);
    expect(world.driver.snapshots.creates).toEqual([]);
    expect(world.content()).toBeUndefined();
  });

  it('repeats what may have been written, and makes one snapshot', async () => {
    world.api.fail('patch', 'VolumeSnapshotContent', new ApiUnreachable('reset'), {
      times: 3,
      afterEffect: true,
    });
    world.put();
    await world.run();
    await world.pass(20_000);
    expect(world.content()?.status?.readyToUse).toBe(true);
    expect(annotations()).not.toHaveProperty([creating]);
    expect(world.driver.snapshots.byId.size).toBe(1);
  });

  it('never writes on another content of the same name', async () => {
    world.put();
    world.driver.snapshots.onCreate = () => {
      world.edit((content) => void (content.metadata.finalizers = []));
      world.api.erase('VolumeSnapshotContent', contentName);
      world.put({
        metadata: { uid: 'content-2' },
        spec: { volumeSnapshotRef: { namespace: 'shop', name: 'tuesday', uid: 'vs-2' } },
      });
      world.driver.snapshots.onCreate = undefined;
    };
    await world.run();
    await world.pass(5_000);
    expect(world.content()?.status?.snapshotHandle).toBe('snap_snapshot-vs-2');
  });
});

describe("a cluster without snapshots' custom resources", () => {
  const missing = new ApiError(404, 'NotFound', 'the server could not find the requested resource');

  it('is no trouble, and is noticed when they come', async () => {
    world.api.fail('list', 'VolumeSnapshotContent', missing, { times: 1_000 });
    world.api.fail('list', 'VolumeSnapshotClass', missing, { times: 1_000 });
    const provisioner = await world.run();
    expect(provisioner.isFresh()).toBe(true);
    await world.pass(10 * 60_000);
    const lists = world.api.calls.filter(
      ({ verb, kind }) => verb === 'list' && kind === 'VolumeSnapshotContent',
    );
    expect(lists.length).toBeLessThanOrEqual(40);
    expect(provisioner.isFresh()).toBe(true);
    expect(world.events()).toEqual([]);
    world.api.heal();
    world.put();
    await world.pass(61_000);
    expect(world.content()?.status?.readyToUse).toBe(true);
  });

  it('stops at once while it waits for them', async () => {
    world.api.fail('list', 'VolumeSnapshotContent', new ApiError(503, 'Unavailable', 'later'), {
      times: 1_000,
    });
    const provisioner = await world.run();
    expect(provisioner.isFresh()).toBe(true);
    await world.end();
    expect(provisioner.isFresh()).toBe(false);
  });
});

it('leaves contents to csi-snapshotter where it runs beside', async () => {
  world.put();
  await world.start({ snapshots: false });
  await world.pass(60_000);
  expect(world.writes()).toEqual([]);
  expect(world.api.calls.filter(({ kind }) => kind === 'VolumeSnapshotContent')).toEqual([]);
});
