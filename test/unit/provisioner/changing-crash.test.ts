import { afterEach, describe, expect, it } from 'vitest';
import type { FakeCsiDriver } from '../../support/fake-csi-driver.ts';
import { ChangingWorld } from './changing-world.ts';
import { Life } from './life.ts';

const apiSteps = ['get', 'create', 'patch', 'remove'];
const driverSteps = ['expandVolume', 'modifyVolume'];

let world = new ChangingWorld();
afterEach(() => world.end());

/** The same story in a new world each time, killed one call later than the time before, until it is told to its end. */
async function tellAllDeaths(
  diesAfterEffect: boolean,
  parts: {
    readonly before?: () => void;
    readonly story: () => void;
    readonly between?: () => void;
    readonly expectAfter: () => void;
  },
): Promise<void> {
  let steps = 0;
  for (let isDone = false; !isDone; steps += 1) {
    world = new ChangingWorld();
    parts.before?.();
    const first = await world.start();
    await world.bound();
    await first.stop();
    const life = new Life(steps, diesAfterEffect);
    await world.start(
      {},
      {
        api: life.wrap(world.api, apiSteps),
        driver: life.wrap<FakeCsiDriver>(world.driver, driverSteps),
        isMortal: true,
      },
    );
    parts.story();
    await world.pass(500);
    isDone = !life.isOver;
    parts.between?.();
    await world.start();
    await world.pass(5_000);
    parts.expectAfter();
    await world.end();
  }
  // the cluster's uid is read too; then claim, driver, PV, claim
  expect(steps).toBeGreaterThan(4);
}

describe('killed at any call, before or after its effect', () => {
  for (const diesAfterEffect of [false, true]) {
    const when = diesAfterEffect ? 'after' : 'before';

    it(`grows a volume to the end (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        story: () => world.ask('2Gi'),
        expectAfter: () => {
          expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n << 30n)]);
          expect(world.status()).toMatchObject({ allocatedResourceStatuses: {}, conditions: [] });
        },
      });
    });

    it(`leaves to kubelet what is kubelet’s (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        before: () => void (world.driver.nodeExpansionRequired = true),
        story: () => world.ask('2Gi'),
        expectAfter: () => {
          expect(world.sizes()).toEqual(['2Gi', '1Gi', String(2n << 30n)]);
          expect(world.status().allocatedResourceStatuses).toEqual({ storage: 'NodeResizePending' });
          expect(world.conditions()).toEqual(['FileSystemResizePending']);
          expect(world.volume()?.metadata.annotations).toMatchObject({
            'volume.alpha.kubernetes.io/pre-resize-capacity': '1Gi',
          });
        },
      });
    });

    it(`never says more or less than there is where the claim asks for less afterwards (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        story: () => world.ask('4Gi'),
        // which the API server allows for as long as the claim does not say that it has more
        between: () => {
          if (world.status().capacity?.['storage'] === '1Gi') world.ask('2Gi');
        },
        expectAfter: () => {
          const [volume, claim, disk] = world.sizes();
          expect(claim).toBe(volume);
          expect([`2Gi ${2n << 30n}`, `4Gi ${4n << 30n}`]).toContain(`${volume} ${disk}`);
          expect(world.conditions()).toEqual([]);
        },
      });
    });

    it(`changes attributes to the end (${when})`, async () => {
      await tellAllDeaths(diesAfterEffect, {
        before: () => world.attributesClass('gold', { limit: 'enforced' }),
        story: () => world.name('gold'),
        expectAfter: () => {
          expect(world.driver.volumes.get('pvc-uid-1')?.modified).toEqual({ limit: 'enforced' });
          expect(world.volume()?.spec.volumeAttributesClassName).toBe('gold');
          expect(world.status().currentVolumeAttributesClassName).toBe('gold');
          expect(world.status().modifyVolumeStatus).toBeUndefined();
          expect(world.conditions()).toEqual([]);
        },
      });
    });
  }
});
