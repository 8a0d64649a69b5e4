import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { contentName, deleting, snapshotId, SnapshotWorld } from './snapshot-world.ts';

let world: SnapshotWorld;
beforeEach(() => {
  world = new SnapshotWorld();
});
afterEach(() => world.end());

describe('the end of a snapshot', () => {
  beforeEach(async () => {
    world.put();
    await world.run();
    world.api.calls.length = 0;
  });

  it('is deleted, told, and its content let go, each once', async () => {
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.content()).toBeUndefined();
    expect(world.driver.snapshots.deletes).toEqual([snapshotId]);
    expect(world.writes()).toEqual(['status', 'release']);
    await world.pass(20 * 60_000);
    expect(world.driver.snapshots.deletes).toHaveLength(1);
  });

  it('is not deleted while its VolumeSnapshot is there, though the content is to go', async () => {
    world.api.erase('VolumeSnapshotContent', contentName);
    await world.pass(20 * 60_000);
    expect([world.driver.snapshots.deletes, world.writes()]).toEqual([[], []]);
    world.edit((content) => void (content.metadata.annotations = { [deleting]: 'yes' }));
    await world.pass(0);
    expect(world.content()).toBeUndefined();
  });

  it('keeps the snapshot with policy Retain', async () => {
    world.edit((content) => void (content.spec.deletionPolicy = 'Retain'));
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.content()).toBeUndefined();
    expect(world.driver.holdsSnapshot(snapshotId)).toBe(true);
  });

  it("leaves other people's finalizers", async () => {
    world.edit((content) => void content.metadata.finalizers?.push('example.com/backup'));
    world.deleteSnapshot();
    await world.pass(60_000);
    expect(world.content()?.metadata.finalizers).toEqual(['example.com/backup']);
    expect(world.driver.snapshots.deletes).toHaveLength(1);
  });

  it('goes on after the driver has refused, and tells once', async () => {
    world.driver.snapshots.onDelete = () => {
      throw new CsiError('FAILED_PRECONDITION', 'a restore reads it');
    };
    world.deleteSnapshot();
    await world.pass(5_000);
    expect(world.driver.snapshots.deletes.length).toBeGreaterThan(1);
    expect(world.events()).toEqual([
      'Warning SnapshotDeleteError: Failed to delete snapshot: rpc error: code = FailedPrecondition desc = a restore reads it',
    ]);
    world.driver.snapshots.onDelete = undefined;
    await world.pass(10_000);
    expect(world.content()).toBeUndefined();
  });

  it('waits without complaint while the bytes are being removed, and is woken by their end', async () => {
    world.driver.snapshots.onDelete = () => {
      throw new CsiError('ABORTED', 'still being removed');
    };
    world.deleteSnapshot();
    await world.pass(100_000);
    expect(world.events()).toEqual([]);
    const asked = world.driver.snapshots.deletes.length;
    world.driver.snapshots.onDelete = undefined;
    world.driver.finishRemoval(snapshotId);
    await world.pass(0);
    expect(world.driver.snapshots.deletes).toHaveLength(asked + 1);
    expect(world.content()).toBeUndefined();
  });
});

describe('a snapshot that is to go before it is made', () => {
  it('is made first, as nobody knows what the driver does, then deleted', async () => {
    let answer = (): void => {};
    world.driver.snapshots.onCreate = () => new Promise((resolve) => void (answer = resolve));
    world.put();
    await world.run();
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.driver.snapshots.deletes).toEqual([]);
    answer();
    await world.pass(0);
    expect(world.driver.snapshots.deletes).toEqual([snapshotId]);
    expect(world.content()).toBeUndefined();
  });

  it('goes at once when the driver has refused to make it', async () => {
    world.driver.snapshots.onCreate = () => {
      throw new CsiError('UNAVAILABLE', 'the pool is away');
    };
    world.put();
    await world.run();
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.content()).toBeDefined();
    world.driver.snapshots.onCreate = () => {
      throw new CsiError('NOT_FOUND', 'the volume is gone');
    };
    await world.pass(10_000);
    expect(world.content()).toBeUndefined();
    expect(world.driver.snapshots.deletes).toEqual([]);
  });

  it('goes half copied: its handle is known', async () => {
    world.driver.snapshots.copyingAnswers = 1_000;
    world.put();
    await world.run();
    world.deleteSnapshot();
    await world.pass(0);
    expect(world.content()).toBeUndefined();
    expect(world.driver.snapshots.deletes).toEqual([snapshotId]);
  });

  it('is not begun any more', async () => {
    world.put();
    world.api.erase('VolumeSnapshotContent', contentName);
    await world.run();
    expect([world.driver.snapshots.creates, world.writes()]).toEqual([[], []]);
  });
});
