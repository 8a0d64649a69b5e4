import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { Life } from './life.ts';
import { World } from './world.ts';

const apiSteps = ['get', 'create', 'patch', 'remove'];
const driverSteps = ['createVolume', 'deleteVolume', 'acknowledge'];

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

/** A process that dies at its n-th write, and is watched until then. @returns whether it lived to do all that there was */
async function live(
  steps: number,
  diesAfterEffect: boolean,
  meanwhile: () => Promise<void>,
): Promise<boolean> {
  const life = new Life(steps, diesAfterEffect);
  const signal = new AbortController();
  await world.start(
    {},
    {
      api: life.wrap(world.api, apiSteps),
      driver: life.wrap<FakeCsiDriver>(world.driver, driverSteps),
      isMortal: true,
    },
  );
  await meanwhile();
  signal.abort();
  return !life.isOver;
}

/**
 * The same story in a new world each time, killed one call later than the time before, until it is told to its end; each
 * time another process comes after.
 */
async function tellAllDeaths(
  diesAfterEffect: boolean,
  parts: {
    readonly before?: () => Promise<void>;
    readonly story: () => Promise<void>;
    readonly between?: () => void;
    readonly expectAfter: () => void;
  },
): Promise<void> {
  let steps = 0;
  for (let isDone = false; !isDone; steps += 1) {
    world = new World();
    await parts.before?.();
    isDone = await live(steps, diesAfterEffect, parts.story);
    parts.between?.();
    await world.start();
    await world.pass(5_000);
    parts.expectAfter();
  }
  expect(steps).toBeGreaterThan(4);
}

async function claimIsMade(): Promise<void> {
  world.claim();
  await world.pass(500);
}

function expectNoVolume(): void {
  expect(world.api.all('PersistentVolume')).toEqual([]);
  world.expectNothingLeft();
}

describe('killed at any call, before or after its effect', () => {
  for (const diesAfterEffect of [false, true]) {
    const when = diesAfterEffect ? 'after' : 'before';

    it(`provisions once and leaks nothing (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        story: claimIsMade,
        expectAfter: () => {
          expect(world.api.all('PersistentVolume').map(({ metadata }) => metadata.name)).toEqual([
            'pvc-uid-1',
          ]);
          expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
          expect(world.driver.unacknowledged()).toEqual([]);
          expect(world.driver.deletes).toEqual([]);
        },
      });
    });

    it(`leaves nothing of a claim that was deleted before the restart (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        story: claimIsMade,
        between: () => world.deleteClaim(),
        expectAfter: expectNoVolume,
      });
    });

    it(`reclaims to the end (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        before: async () => {
          const first = await world.start();
          await world.bound();
          await first.stop();
        },
        story: async () => {
          world.deleteClaim();
          await world.pass(500);
        },
        expectAfter: expectNoVolume,
      });
    });

    it(`undoes what a claim left that got a static volume meanwhile (${when})`, async () => {
      let hasVolume = false;
      await tellAllDeaths(diesAfterEffect, {
        story: claimIsMade,
        between: () => {
          hasVolume = world.volume() !== undefined;
          world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
            claim.spec.volumeName = hasVolume ? 'pvc-uid-1' : 'static-1';
          });
        },
        expectAfter: () => {
          expect([...world.driver.volumes.keys()]).toEqual(hasVolume ? ['pvc-uid-1'] : []);
          expect(world.driver.unacknowledged()).toEqual([]);
        },
      });
    });
  }
});

describe('a restart', () => {
  it('sweeps nothing while the API does not answer', async () => {
    await live(2, false, claimIsMade);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    const volumes = world.driver.volumes.size;
    expect(volumes).toBe(1);
    world.api.goDeaf();
    await world.start();
    await world.pass(10 * 60_000);
    expect(world.driver.volumes.size).toBe(volumes);
    world.api.hearAgain();
    await world.pass(60_000);
    expect(world.driver.volumes.size).toBe(0);
  });

  it('leaves a volume alone whose PV was seen and is gone', async () => {
    const first = await world.start();
    await world.bound();
    await first.stop();
    world.api.edit('PersistentVolume', 'pvc-uid-1', (volume) => void (volume.metadata.finalizers = []));
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.start();
    await world.pass(60 * 60_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    expect(world.driver.deletes).toEqual([]);
  });

  it('leaves the volumes of another cluster alone', async () => {
    await live(2, false, claimIsMade);
    expect(world.driver.unacknowledged()).toHaveLength(1);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.start({ clusterUid: 'cluster-2' });
    await world.pass(60 * 60_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
  });
});

describe('the provisioner', () => {
  it('is fresh when its watches are, and not before or after', async () => {
    world.api.goDeaf();
    const provisioner = await world.start();
    expect(provisioner.isFresh()).toBe(false);
    world.api.hearAgain();
    await world.pass(60_000);
    expect(provisioner.isFresh()).toBe(true);
    world.api.goDeaf();
    await world.pass(240_000);
    expect(provisioner.isFresh()).toBe(false);
    world.api.hearAgain();
    await world.pass(60_000);
    expect(provisioner.isFresh()).toBe(true);
    await provisioner.stop();
    expect(provisioner.isFresh()).toBe(false);
  });

  it('waits for a driver that is not up yet', async () => {
    let tries = 0;
    const driver = Object.create(world.driver) as FakeCsiDriver;
    Object.defineProperty(driver, 'getPluginInfo', {
      value: async () => {
        tries += 1;
        if (tries < 3) throw new Error('connect ENOENT');
        return { name: 'loam.dev', vendorVersion: '0' };
      },
    });
    const wrapped = new Proxy(world.driver, {
      get: (object, key) => {
        if (key === 'getPluginInfo') return driver.getPluginInfo.bind(driver);
        const member: unknown = Reflect.get(object, key, object);
        return typeof member === 'function' ? (member.bind(object) as unknown) : member;
      },
    });
    await world.start({}, { driver: wrapped });
    world.claim();
    await world.pass(5_000);
    expect(tries).toBe(3);
    expect(world.volume()).toBeDefined();
  });
});
