import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { ChangingWorld } from './changing-world.ts';

const gi = 1n << 30n;

let world: ChangingWorld;
beforeEach(() => {
  world = new ChangingWorld();
});
afterEach(() => world.end());

describe('growth that fails', () => {
  it('tells the claim why its size cannot be had, and rests', async () => {
    await world.startBound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    const why = 'rpc error: code = OutOfRange desc = volume pvc-uid-1 cannot have 9663676416 bytes';
    expect(world.said()).toContain(
      `Warning VolumeResizeFailed: resize volume "pvc-uid-1" by resizer "loam.dev" failed: ${why}`,
    );
    expect(world.status()).toMatchObject({
      allocatedResourceStatuses: { storage: 'ControllerResizeInfeasible' },
      conditions: [
        { type: 'Resizing', status: 'True' },
        { type: 'ControllerResizeError', status: 'True', message: `failed to expand pvc with ${why}` },
      ],
    });
    expect(world.sizes().slice(0, 2)).toEqual(['1Gi', '1Gi']);
    await world.pass(4 * 60_000);
    expect(world.driver.expands).toHaveLength(1);
    await world.pass(2 * 60_000);
    expect(world.driver.expands).toHaveLength(2);
  });

  it('recovers at once when the claim asks for what can be had', async () => {
    await world.startBound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizesAsked()).toEqual([String(9n * gi), String(2n * gi)]);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.status()).toMatchObject({ allocatedResourceStatuses: {}, conditions: [] });
  });

  it('is tried again when space comes free, but not each time', async () => {
    await world.startBound();
    world.driver.largestBytes = 3n * gi;
    world.ask('9Gi');
    await world.pass(0);
    world.driver.spaceChanged.tell();
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(1);
    world.driver.largestBytes = 99n * gi;
    await world.pass(31_000);
    world.driver.spaceChanged.tell();
    await world.pass(0);
    expect(world.sizes().slice(0, 2)).toEqual(['9Gi', '9Gi']);
  });

  it('keeps to a size that may be on its way, whatever the claim asks for meanwhile', async () => {
    await world.startBound();
    world.driver.onExpand = () => {
      throw new CsiError('DEADLINE_EXCEEDED', 'still at it');
    };
    world.ask('9Gi');
    await world.pass(0);
    world.ask('2Gi');
    await world.pass(1_500);
    expect(new Set(world.sizesAsked())).toEqual(new Set([String(9n * gi)]));
    expect(world.conditions()).toEqual(['Resizing']);
    // also after a restart, which has no memory
    await world.end();
    await world.start();
    expect(new Set(world.sizesAsked())).toEqual(new Set([String(9n * gi)]));
    world.driver.onExpand = undefined;
    await world.pass(10_000);
    expect(world.sizes()).toEqual(['9Gi', '9Gi', String(9n * gi)]);
  });

  it('takes another size after a failure that certainly ended', async () => {
    await world.startBound();
    world.driver.onExpand = ({ capacityRange }) => {
      if (capacityRange.requiredBytes > 3n * gi) throw new CsiError('INTERNAL', 'disk trouble');
    };
    world.ask('9Gi');
    await world.pass(0);
    expect(world.status().allocatedResourceStatuses).toEqual({ storage: 'ControllerResizeInProgress' });
    expect(world.conditions()).toEqual(['Resizing', 'ControllerResizeError']);
    world.ask('2Gi');
    await world.pass(0);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('that waits for the volume’s release goes on with it', async () => {
    await world.startBound();
    world.driver.onExpand = () => {
      throw new CsiError('FAILED_PRECONDITION', 'cannot grow while it is mounted');
    };
    world.ask('2Gi');
    await world.pass(10 * 60_000);
    const tries = world.driver.expands.length;
    world.driver.onExpand = undefined;
    world.driver.released.tell('pvc-uid-1');
    await world.pass(0);
    expect(world.driver.expands).toHaveLength(tries + 1);
    expect(world.sizes().slice(0, 2)).toEqual(['2Gi', '2Gi']);
  });

  it('is not announced again at each try', async () => {
    await world.startBound();
    world.driver.onExpand = () => {
      throw new CsiError('ABORTED', 'volume pvc-uid-1 is being copied');
    };
    world.ask('2Gi');
    await world.pass(60_000);
    expect(world.driver.expands.length).toBeGreaterThan(3);
    expect(world.api.all('Event').filter(({ reason }) => reason === 'Resizing')).toMatchObject([
      { count: 1 },
    ]);
  });

  it('is given up with its claim', async () => {
    await world.startBound();
    world.driver.onExpand = () => {
      throw new CsiError('ABORTED', 'busy');
    };
    world.ask('2Gi');
    await world.pass(0);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    const tries = world.driver.expands.length;
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toHaveLength(tries);
  });
});

describe('growth among other writers', () => {
  it.each(['PersistentVolumeClaim', 'PersistentVolume'] as const)(
    'never overwrites what was written to the %s meanwhile',
    async (kind) => {
      await world.startBound();
      world.api.before('patch', kind, () => {
        if (kind === 'PersistentVolume')
          world.editVolume((volume) => void (volume.metadata.labels = { a: 'b' }));
        else world.edit((claim) => void (claim.metadata.labels = { a: 'b' }));
      });
      world.ask('2Gi');
      await world.pass(100);
      expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
      const key = kind === 'PersistentVolume' ? 'pvc-uid-1' : 'shop/data';
      expect(world.api.peek(kind, key)?.metadata.labels).toMatchObject({ a: 'b' });
    },
  );

  it('keeps a condition that others write at the same moment', async () => {
    await world.startBound();
    world.api.before('patch', 'PersistentVolumeClaim', () => {
      world.edit((claim) => {
        claim.status = { ...claim.status, conditions: [{ type: 'Audited', status: 'True' }] };
      });
    });
    world.ask('2Gi');
    await world.pass(100);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual(['Audited']);
  });

  it('outlives an API server that does not take its writes', async () => {
    await world.startBound();
    world.api.fail('patch', 'PersistentVolumeClaim', new ApiError(500, 'InternalError', 'no'), { times: 3 });
    world.api.fail('patch', 'PersistentVolume', new ApiError(503, 'ServiceUnavailable', 'no'), { times: 2 });
    world.ask('2Gi');
    await world.pass(5 * 60_000);
    expect(world.sizes()).toEqual(['2Gi', '2Gi', String(2n * gi)]);
    expect(world.conditions()).toEqual([]);
  });

  it('touches no volume of another node', async () => {
    await world.startBound();
    world.editVolume((volume) => void (volume.spec.nodeAffinity = {}));
    world.ask('2Gi');
    await world.pass(20 * 60_000);
    expect(world.driver.expands).toEqual([]);
  });
});
