import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CsiError } from '../../../src/model/status-code.ts';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { Life } from './life.ts';
import { creating, snapshotId, SnapshotWorld } from './snapshot-world.ts';

const apiSteps = ['get', 'create', 'patch', 'remove'];
const driverSteps = ['createSnapshot', 'deleteSnapshot', 'listSnapshots'];

let world: SnapshotWorld;
beforeEach(() => {
  world = new SnapshotWorld();
});
afterEach(() => world.end());

interface Tale {
  readonly before?: () => Promise<void>;
  readonly story: () => Promise<void>;
  readonly between?: () => void;
  readonly expectAfter: () => void;
  /** how many deaths there are at least, or the story was not told */
  readonly deaths: number;
}

/** The same story again and again, killed one call later each time until it is told to its end; another process comes after. */
async function tellAllDeaths(diesAfterEffect: boolean, tale: Tale): Promise<void> {
  let steps = 0;
  for (let isDone = false; !isDone; steps += 1) {
    world = new SnapshotWorld();
    await tale.before?.();
    const life = new Life(steps, diesAfterEffect);
    await world.run({
      api: life.wrap(world.api, apiSteps),
      driver: life.wrap<FakeCsiDriver>(world.driver, driverSteps),
      isMortal: true,
    });
    await tale.story();
    isDone = !life.isOver;
    tale.between?.();
    await world.run();
    await world.pass(60_000);
    tale.expectAfter();
  }
  expect(steps).toBeGreaterThan(tale.deaths);
}

function expectReady(): void {
  expect(world.content()?.status).toMatchObject({ snapshotHandle: snapshotId, readyToUse: true });
  expect(world.content()?.status).not.toHaveProperty('error');
  expect(world.content()?.metadata.annotations ?? {}).not.toHaveProperty([creating]);
  expect(world.content()?.metadata.labels).toEqual({ 'loam.dev/node': 'node-a' });
  expect([...world.driver.snapshots.byId.keys()]).toEqual([snapshotId]);
  expect(world.driver.snapshots.deletes).toEqual([]);
}

function expectNothing(): void {
  expect(world.content()).toBeUndefined();
  expect([...world.driver.snapshots.byId.keys()]).toEqual([]);
}

async function contentIsMade(): Promise<void> {
  world.put();
  await world.pass(10_000);
}

describe.each([
  ['before', false],
  ['after', true],
] as const)('killed at any call, %s its effect', (_when, diesAfterEffect) => {
  it('makes one snapshot, and tells of it', async () => {
    await tellAllDeaths(diesAfterEffect, { story: contentIsMade, expectAfter: expectReady, deaths: 4 });
  });

  it('follows one that is copied for long', async () => {
    await tellAllDeaths(diesAfterEffect, {
      story: async () => {
        world.driver.snapshots.copyingAnswers = 3;
        await contentIsMade();
      },
      expectAfter: expectReady,
      deaths: 6,
    });
  });

  it('gets over a driver that fails at first', async () => {
    await tellAllDeaths(diesAfterEffect, {
      story: async () => {
        let failures = 2;
        world.driver.snapshots.onCreate = () => {
          failures -= 1;
          if (failures >= 0) throw new CsiError('RESOURCE_EXHAUSTED', 'full');
        };
        await contentIsMade();
      },
      expectAfter: expectReady,
      deaths: 8,
    });
  });

  it('leaves nothing of one that was deleted before the restart', async () => {
    await tellAllDeaths(diesAfterEffect, {
      story: contentIsMade,
      between: () => world.deleteSnapshot(),
      expectAfter: expectNothing,
      deaths: 4,
    });
  });

  it('deletes to the end, though the source is gone', async () => {
    await tellAllDeaths(diesAfterEffect, {
      before: async () => {
        const first = await world.run();
        await contentIsMade();
        await first.stop();
        world.driver.volumes.clear();
        world.api.edit('PersistentVolume', 'pvc-uid-1', (volume) => void (volume.metadata.finalizers = []));
        world.api.erase('PersistentVolume', 'pvc-uid-1');
      },
      story: async () => {
        world.deleteSnapshot();
        await world.pass(10_000);
      },
      expectAfter: expectNothing,
      deaths: 3,
    });
  });
});
