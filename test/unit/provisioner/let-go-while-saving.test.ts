import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as annotations from '../../../src/claims/annotations.ts';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

/** As the controller, in the moment in which the PV is on its way. */
const letGo = (then: () => void = () => {}): void =>
  world.api.before('create', 'PersistentVolume', () => {
    world.api.edit('PersistentVolumeClaim', 'shop/data', ({ metadata }) => {
      const { [annotations.selectedNode]: _, ...rest } = metadata.annotations ?? {};
      metadata.annotations = rest;
    });
    then();
  });

describe('a claim that is let go while its PV is being written', () => {
  it.each(['answered', 'not answered'])('keeps the volume, which has its PV now (%s)', async (how) => {
    await world.start();
    letGo();
    if (how === 'not answered') {
      const error = new ApiUnreachable('reset');
      world.api.fail('create', 'PersistentVolume', error, { afterEffect: true });
    }
    world.claim();
    await world.pass(120_000);
    world.expectProvisioned();
    expect(world.driver.deletes).toEqual([]);
  });

  it.each(['answered', 'not answered'])(
    'keeps what another node has made for it by then, and nothing is left here (%s)',
    async (how) => {
      await world.start();
      letGo(() => {
        const csi = {
          driver: 'loam.dev',
          volumeHandle: 'pvc-uid-1',
          volumeAttributes: { 'loam.dev/pool-uuid': 'node-b-pool' },
        };
        world.api.put('PersistentVolume', aPersistentVolume({ spec: { csi } }));
      });
      if (how === 'not answered') {
        world.api.fail('create', 'PersistentVolume', new ApiUnreachable('reset'));
      }
      world.claim();
      await world.pass(120_000);
      expect([...world.driver.volumes.keys()]).toEqual([]);
      expect(world.volume()?.spec.csi?.volumeAttributes).toEqual({ 'loam.dev/pool-uuid': 'node-b-pool' });
    },
  );
});
