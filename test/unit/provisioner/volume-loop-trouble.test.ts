import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

describe('a driver that cannot delete yet', () => {
  it('is asked again while the volume is mounted, at most 30 s apart, with one event', async () => {
    await world.start();
    await world.bound();
    world.driver.inUse.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(10 * 60_000);
    const tries = world.driver.deletes.length;
    expect(tries).toBeGreaterThan(20);
    expect(tries).toBeLessThan(40);
    expect(world.events().filter((event) => event.includes('VolumeFailedDelete'))).toEqual([
      'Warning VolumeFailedDelete: rpc error: code = FailedPrecondition desc = volume pvc-uid-1 is mounted',
    ]);
    world.driver.inUse.clear();
    await world.pass(30_000);
    world.expectNothingLeft();
  });

  it('is no news for half a minute, which is what a claim deleted with its pod may take', async () => {
    await world.start();
    await world.bound();
    world.driver.inUse.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(29_000);
    expect(world.driver.deletes.length).toBeGreaterThan(4);
    expect(world.events().join()).not.toMatch(/VolumeFailedDelete/);
    await world.pass(1_000);
    expect(world.events().join()).toMatch(/VolumeFailedDelete/);
  });

  it('is asked again at once when the node has let the volume go, and patiently from the start if in vain', async () => {
    await world.start();
    await world.bound();
    world.driver.inUse.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(5 * 60_000);
    const before = world.driver.deletes.length;
    world.driver.released.tell('pvc-uid-1');
    await world.pass(0);
    expect(world.driver.deletes.length).toBe(before + 1);
    await world.pass(1_000);
    expect(world.driver.deletes.length).toBe(before + 2);
    world.driver.inUse.clear();
    world.driver.released.tell('pvc-uid-1');
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('that comes to fail otherwise is asked at once with its back-off forgotten when the volume is let go', async () => {
    await world.start();
    await world.bound();
    world.driver.onDelete = () => {
      throw new CsiError('INTERNAL', 'disk');
    };
    world.deleteClaim();
    await world.pass(5 * 60_000);
    const before = world.driver.deletes.length;
    world.driver.released.tell('pvc-uid-1');
    await world.pass(1_000);
    expect(world.driver.deletes.length).toBe(before + 2);
  });

  it('is asked again within seconds where it was only busy, with an unmount for example', async () => {
    await world.start();
    await world.bound();
    world.driver.removing.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(1_500);
    expect(world.volume()).toBeDefined();
    world.driver.removing.clear();
    await world.pass(4_000);
    world.expectNothingLeft();
  });

  it('wakes the loop when the last byte is gone', async () => {
    await world.start();
    await world.bound();
    world.driver.removing.add('pvc-uid-1');
    world.deleteClaim();
    await world.pass(1_000);
    expect(world.volume()).toBeDefined();
    const before = world.clock.nowMs();
    world.driver.finishRemoval('pvc-uid-1');
    await world.pass(0);
    world.expectNothingLeft();
    expect(world.clock.nowMs()).toBe(before);
    expect(world.events().join()).not.toMatch(/VolumeFailedDelete/);
  });

  it('is asked again with back-off after any other answer', async () => {
    await world.start();
    await world.bound();
    world.driver.onDelete = () => {
      world.driver.onDelete = undefined;
      throw new CsiError('INTERNAL', 'disk');
    };
    world.deleteClaim();
    await world.pass(3_000);
    world.expectNothingLeft();
    expect(world.counted).toContain('controller_persistentvolume_delete_failed_total');
    expect(world.events().join()).toMatch(/VolumeFailedDelete: rpc error: code = Internal desc = disk/);
  });
});

describe('an API that fails in the middle of reclaiming', () => {
  const places: [
    what: string,
    verb: 'patch' | 'get' | 'remove',
    kind: 'PersistentVolume' | 'PersistentVolumeClaim',
    skip: number,
  ][] = [
    ['at the mark', 'patch', 'PersistentVolume', 0],
    ['at the look', 'get', 'PersistentVolumeClaim', 0],
    ['at the PV’s deletion', 'remove', 'PersistentVolume', 0],
    ['at the finalizer', 'patch', 'PersistentVolume', 1],
  ];
  const errors = [
    new ApiError(409, 'Conflict', 'changed'),
    new ApiError(410, 'Gone', 'gone'),
    new ApiError(429, 'TooManyRequests', 'slow down', 500),
    new ApiError(500, 'InternalError', 'etcd'),
    new ApiUnreachable('reset'),
  ];
  for (const [what, verb, kind, skip] of places) {
    for (const error of errors) {
      for (const afterEffect of verb === 'get' ? [false] : [false, true]) {
        const status = error instanceof ApiError ? error.status : 'no answer';
        it(`ends the same ${what} (${status}, ${afterEffect ? 'written' : 'not written'})`, async () => {
          await world.start();
          await world.bound();
          const arm = (): void => world.api.fail(verb, kind, error, { afterEffect });
          if (skip === 0) arm();
          else world.api.before('remove', 'PersistentVolume', arm);
          world.deleteClaim();
          await world.pass(5_000);
          world.expectNothingLeft();
        });
      }
    }
  }

  it('destroys nothing while the look at the claim gets no answer', async () => {
    await world.start();
    await world.bound();
    world.api.fail('get', 'PersistentVolumeClaim', new ApiUnreachable('reset'), { times: 1_000 });
    world.deleteClaim();
    await world.pass(10 * 60_000);
    expect(world.driver.deletes).toEqual([]);
  });
});
