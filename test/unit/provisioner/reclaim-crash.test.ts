import { describe, expect, it } from 'vitest';
import * as annotations from '../../../src/claims/annotations.ts';
import type { StorageClass } from '../../../src/kube/objects.ts';
import { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { Life } from './life.ts';
import { World } from './world.ts';

const gib = 1n << 30n;

interface Story {
  readonly storageClass: Partial<StorageClass>;
  readonly limits?: { readonly retainedYieldBelow: number };
  /** after the claim is gone, while the first process lives */
  readonly story: (world: World) => Promise<void>;
  readonly expectAfter: (world: World, what: string) => void;
  readonly leastSteps: number;
}

function note(world: World, key: string): string | undefined {
  return world.volume()?.metadata.annotations?.[key];
}

const stories: Record<string, Story> = {
  'recycles once': {
    storageClass: { parameters: { onRelease: 'recycle' }, reclaimPolicy: 'Retain' },
    story: (world) => world.pass(500),
    expectAfter: (world, what) => {
      expect(world.volume()?.spec.claimRef, what).toBeUndefined();
      expect(note(world, annotations.reclaiming), what).toBeUndefined();
      expect(note(world, annotations.recycled), what).toBeDefined();
      expect([...world.driver.unused], what).toEqual(['pvc-uid-1']);
      expect(world.driver.recycling.size, what).toBe(0);
    },
    leastSteps: 5,
  },
  'retains until an end that is noted once': {
    storageClass: { parameters: { retainFor: '24h' } },
    story: async (world) => {
      await world.pass(500);
      await world.pass(1_000);
    },
    expectAfter: (world, what) => {
      const until = note(world, annotations.retainedUntil) ?? '';
      // it was noted by the process that was killed, or by the next one, five seconds later at most
      const lasts = Date.parse(until) - world.clock.nowMs();
      expect(lasts, what).toBeGreaterThan(24 * 3_600_000 - 62_000);
      expect(lasts, what).toBeLessThanOrEqual(24 * 3_600_000);
      expect(world.driver.volumes.size, what).toBe(1);
    },
    leastSteps: 2,
  },
  'ends a retention for room, and destroys the volume': {
    storageClass: { parameters: { retainFor: '24h' } },
    limits: { retainedYieldBelow: 0.1 },
    story: async (world) => {
      await world.pass(500);
      await world.pass(31_000);
    },
    expectAfter: (world, what) => {
      expect(world.volume(), what).toBeUndefined();
      expect(world.driver.volumes.size, what).toBe(0);
    },
    leastSteps: 6,
  },
};

describe.each([false, true])(
  'killed at any call after the claim is gone (after its effect: %s)',
  (isAfter) => {
    it.each(Object.entries(stories))('%s', async (_name, { storageClass, limits = {}, ...parts }) => {
      let steps = 0;
      for (let isTold = false; !isTold; steps += 1) {
        const world = new World();
        world.api.erase('StorageClass', 'fast');
        world.api.put('StorageClass', aStorageClass(storageClass));
        world.driver.poolRooms = [{ name: 'p', uuid: 'pool-1', sizeBytes: 100n * gib, unpromisedBytes: gib }];
        // an earlier process made the volume
        const maker = await world.start();
        world.claim({
          metadata: {
            annotations: {
              [annotations.selectedNode]: 'node-a',
              [annotations.storageProvisioner]: 'loam.dev',
            },
          },
        });
        await world.pass(0);
        world.bind();
        await world.pass(0);
        await maker.stop();

        const life = new Life(steps, isAfter);
        const api = life.wrap(world.api, ['get', 'patch', 'remove']);
        const driver = life.wrap<FakeCsiDriver>(world.driver, ['deleteVolume', 'recycle', 'rooms']);
        await world.start({ ...limits, clusterUid: 'cluster-1' }, { api, driver, isMortal: true });
        world.deleteClaim();
        await parts.story(world);
        isTold = !life.isOver;
        await world.start(limits);
        await world.pass(60_000);
        parts.expectAfter(world, `after ${steps} calls`);
        await world.end();
      }
      expect(steps).toBeGreaterThanOrEqual(parts.leastSteps);
    });
  },
);
