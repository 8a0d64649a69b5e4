import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildTombstone, readTombstone, type Tombstone } from '../../../src/claims/tombstone.ts';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { Life } from './life.ts';
import { World } from './world.ts';

const poolMissing = 'loam.dev/pool-missing';
const lostSince = 'loam.dev/node-lost-since';
const settings = { tombstoneNamespace: 'loam' };
const pool = { name: 'p', sizeBytes: 100n, unpromisedBytes: 50n };

let world: World;
beforeEach(() => {
  world = new World();
  world.driver.poolRooms = [{ ...pool, uuid: 'pool-1' }];
});
afterEach(() => world.end());

const stone: Tombstone = {
  driverName: 'loam.dev',
  volumeId: 'pvc-uid-1',
  poolUuid: 'pool-1',
  topologyValue: 'node-a',
  volumeName: 'pvc-uid-1',
  volumeUid: 'pv-uid-1',
  claim: { namespace: 'shop', name: 'data', uid: 'uid-1' },
  letGoAt: '2026-01-01T00:00:00.000Z',
  why: 'node node-a has been gone',
  mayErase: true,
  recreation: 'none',
};

function bury(changes: Partial<Tombstone> = {}): void {
  world.api.put('ConfigMap', buildTombstone({ ...stone, ...changes }, 'loam'));
}

/** A volume on the disk that was acknowledged, and whose PV is gone. */
function keepOnDisk(adopt = 'never'): void {
  world.driver.make({
    name: 'pvc-uid-1',
    capacityRange: { requiredBytes: 1n, limitBytes: 0n },
    capabilities: [],
    parameters: { adopt },
  });
  void world.driver.acknowledge('pvc-uid-1');
}

const isOnDisk = (): boolean => world.driver.volumes.has('pvc-uid-1');
const stones = (): number => world.api.all('ConfigMap').length;
const noted = (): Record<string, string> => world.volume()?.metadata.annotations ?? {};

describe('a node that is back', () => {
  it('destroys what has a tombstone and no PV, and then the tombstone', async () => {
    keepOnDisk();
    bury();
    await world.start(settings);
    expect(world.driver.deletes).toEqual([
      { volumeId: 'pvc-uid-1', volumeContext: { 'loam.dev/pool-uuid': 'pool-1' } },
    ]);
    expect([isOnDisk(), stones()]).toEqual([false, 0]);
  });

  it('destroys nothing that has no tombstone', async () => {
    keepOnDisk();
    await world.start(settings);
    await world.pass(3_600_000);
    expect([isOnDisk(), world.driver.deletes]).toEqual([true, []]);
  });

  it('finds tombstones that are written while it is there', async () => {
    keepOnDisk();
    await world.start(settings);
    bury();
    await world.pass(301_000);
    expect([isOnDisk(), stones()]).toEqual([false, 0]);
  });

  it('lists tombstones again soon where that failed', async () => {
    keepOnDisk();
    bury();
    world.api.fail('list', 'ConfigMap', new ApiError(500, 'InternalError', 'no'), { times: 1 });
    await world.start(settings);
    await world.pass(31_000);
    expect([isOnDisk(), stones()]).toEqual([false, 0]);
  });

  it.each<readonly [string, Partial<Tombstone>]>([
    ["of another node's", { topologyValue: 'node-b' }],
    ["of another driver's", { driverName: 'other.dev' }],
    ['whose claim is not seen through yet', { recreation: 'pending' }],
    ['of a pool that is not here', { poolUuid: 'pool-2' }],
  ])('leaves a tombstone %s', async (_, changes) => {
    keepOnDisk();
    bury(changes);
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 1, []]);
  });

  it('leaves data to any PV over it, and the tombstone goes', async () => {
    keepOnDisk();
    bury();
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'by-hand', uid: 'other' },
        spec: { claimRef: null, persistentVolumeReclaimPolicy: 'Retain' },
        status: { phase: 'Available' },
      }),
    );
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 0, []]);
  });

  it('leaves data whose PV appeared a moment ago, ahead of the watch', async () => {
    keepOnDisk();
    bury();
    world.api.before('get', 'ConfigMap', () => {
      world.api.put('PersistentVolume', aPersistentVolume({ metadata: { name: 'late', uid: 'late' } }));
    });
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones()]).toEqual([true, 0]);
  });

  it('leaves data to a PV that a person wrote without its pool', async () => {
    keepOnDisk();
    bury();
    const volume = aPersistentVolume({ metadata: { name: 'by-hand', uid: 'other' } });
    delete volume.spec.csi?.volumeAttributes;
    world.api.put('PersistentVolume', volume);
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 0, []]);
  });

  it('waits for whoever is about to give the data to somebody, and leaves it then', async () => {
    keepOnDisk();
    const { unowned } = await world.start(settings);
    if (unowned === undefined) throw new Error('the provisioner has not started');
    const adopting = Promise.withResolvers<void>();
    const turn = unowned.orphans.alone('pvc-uid-1', () => adopting.promise);
    bury();
    await world.pass(301_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 1, []]);
    world.api.put('PersistentVolume', aPersistentVolume({ metadata: { name: 'adopted', uid: 'adopted' } }));
    adopting.resolve();
    await turn;
    await world.pass(301_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 0, []]);
  });

  it('leaves data whose claim is alive, and data that was only to be kept', async () => {
    keepOnDisk();
    bury();
    world.api.put('PersistentVolumeClaim', aClaim({ spec: { volumeName: 'pvc-uid-1' } }));
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones()]).toEqual([true, 1]);
    await world.end();
    world = new World();
    world.driver.poolRooms = [{ ...pool, uuid: 'pool-1' }];
    keepOnDisk();
    bury({ mayErase: false });
    await world.start(settings);
    expect([isOnDisk(), stones()]).toEqual([true, 0]);
  });

  it('gives a claim made anew its data back where its class adopts by name and it waits still', async () => {
    keepOnDisk('by-name');
    bury({ recreation: 'done' });
    world.api.put('PersistentVolumeClaim', aClaim({ metadata: { uid: 'new', annotations: {} } }));
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones(), world.driver.deletes]).toEqual([true, 0, []]);
  });

  it('waits for what is still mounted, and for bytes that take their time', async () => {
    keepOnDisk();
    bury();
    world.driver.inUse.add('pvc-uid-1');
    await world.start(settings);
    await world.pass(120_000);
    expect([isOnDisk(), stones()]).toEqual([true, 1]);
    world.driver.inUse.clear();
    world.driver.removing.add('pvc-uid-1');
    await world.pass(120_000);
    expect(stones()).toBe(1);
    world.driver.finishRemoval('pvc-uid-1');
    await world.pass(61_000);
    expect([isOnDisk(), stones()]).toEqual([false, 0]);
  });

  it('takes off what has nothing left on a disk that is there', async () => {
    bury();
    await world.start(settings);
    expect(stones()).toBe(0);
  });

  it('does nothing where it cannot tell which pools are open, or may not list', async () => {
    keepOnDisk();
    bury();
    world.driver.rooms = () => Promise.reject(new CsiError('INTERNAL', 'no'));
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones()]).toEqual([true, 1]);
    await world.end();
    world.api.fail('list', 'ConfigMap', new ApiError(403, 'Forbidden', 'no'), { times: 99 });
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones()]).toEqual([true, 1]);
  });

  it('does nothing by a tombstone that somebody has changed', async () => {
    for (const change of [
      { volumeId: 'another' },
      { erase: 'maybe' },
      { claimUid: '' },
      { claim: '{"metadata":{"name":"x"}}' },
      { recreate: 'sometimes' },
    ]) {
      const object = buildTombstone(stone, 'loam');
      object.data = { ...object.data, ...change };
      expect(readTombstone(object), JSON.stringify(change)).toBeUndefined();
    }
    keepOnDisk();
    const object = buildTombstone(stone, 'loam');
    object.data = { ...object.data, erase: '' };
    world.api.put('ConfigMap', object);
    await world.start(settings);
    await world.pass(700_000);
    expect([isOnDisk(), stones()]).toEqual([true, 1]);
  });

  it('killed at any call goes on at its next start', async () => {
    for (const afterEffect of [false, true]) {
      let steps = 0;
      for (let isOver = true; isOver && steps < 60; steps += 1) {
        world = new World();
        world.driver.poolRooms = [{ ...pool, uuid: 'pool-1' }];
        keepOnDisk();
        bury();
        const life = new Life(steps, afterEffect);
        const api = life.wrap(world.api, ['get', 'list', 'remove', 'patch', 'create']);
        const driver = life.wrap(world.driver, ['deleteVolume']);
        await world.start(settings, { api, driver, isMortal: true });
        await world.pass(5_000);
        isOver = life.isOver;
        await world.start(settings);
        await world.pass(5_000);
        expect([isOnDisk(), stones()], `killed after ${steps} calls`).toEqual([false, 0]);
        await world.end();
      }
      expect(steps).toBeGreaterThan(5);
    }
  });
});

describe('what a node says on its PVs', () => {
  async function provisioned(): Promise<void> {
    await world.start(settings);
    await world.bound();
    await world.pass(0);
  }

  it('is nothing as long as all is well', async () => {
    await provisioned();
    const before = world.callsOf('PersistentVolume').length;
    await world.pass(3_600_000);
    expect(world.callsOf('PersistentVolume')).toHaveLength(before);
  });

  it('is that it is there, at once, where the controller takes it for lost', async () => {
    await provisioned();
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => {
      metadata.annotations = { ...metadata.annotations, [lostSince]: '2026-01-01T00:00:00Z' };
    });
    await world.pass(0);
    expect(noted()).not.toHaveProperty([lostSince]);
  });

  it('is that a pool is missing at the second look, with events, and that it is back', async () => {
    await provisioned();
    world.driver.poolRooms = [{ ...pool, uuid: 'set-up-anew' }];
    await world.pass(31_000);
    expect(noted()).not.toHaveProperty([poolMissing]);
    await world.pass(30_000);
    expect(noted()[poolMissing]).toMatch(/^\d{4}-.*Z$/);
    const since = noted()[poolMissing];
    const told = world
      .events()
      .filter((text) => text.includes('Warning PoolMissing: node node-a has no pool pool-1'));
    expect(told).toHaveLength(2);
    await world.pass(600_000);
    expect(noted()[poolMissing]).toBe(since);
    world.driver.poolRooms = [{ ...pool, uuid: 'pool-1' }];
    await world.pass(31_000);
    expect(noted()).not.toHaveProperty([poolMissing]);
  });

  it('is nothing of a pool that is late when the node starts', async () => {
    await provisioned();
    await world.end();
    world.driver.poolRooms = [];
    await world.start(settings);
    await world.pass(29_000);
    expect(noted()).not.toHaveProperty([poolMissing]);
    await world.pass(2_000);
    expect(noted()).toHaveProperty([poolMissing]);
  });

  it('is nothing of a pool that was away for a moment, nor where pools cannot be looked at', async () => {
    await provisioned();
    world.driver.poolRooms = [];
    await world.pass(31_000);
    world.driver.poolRooms = [{ ...pool, uuid: 'pool-1' }];
    await world.pass(300_000);
    world.driver.rooms = () => Promise.reject(new CsiError('INTERNAL', 'no'));
    await world.pass(300_000);
    expect(noted()).not.toHaveProperty([poolMissing]);
    expect(world.events().join()).not.toContain('PoolMissing');
  });
});
