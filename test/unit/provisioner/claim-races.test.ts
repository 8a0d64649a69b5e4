import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable } from '../../../src/kube/api-error.ts';
import { silentLog } from '../../../src/model/log.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { Provisioner } from '../../../src/provisioner/provisioner.ts';
import { unansweredMs } from '../../../src/provisioner/settle-intent.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { settings, World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

describe('when the API fails on saving the PV', () => {
  const errors: [what: string, error: Error][] = [
    ['429', new ApiError(429, 'TooManyRequests', 'slow down', 300)],
    ['500', new ApiError(500, 'InternalError', 'etcd')],
    ['403', new ApiError(403, 'Forbidden', 'no')],
    ['409', new ApiError(409, 'Conflict', 'namespace')],
    ['410', new ApiError(410, 'Gone', 'gone')],
    ['no answer', new ApiUnreachable('reset')],
  ];
  for (const [what, error] of errors) {
    for (const afterEffect of [false, true]) {
      it(`keeps the data and saves in the end (${what}, ${afterEffect ? 'written' : 'not written'})`, async () => {
        await world.start();
        world.api.fail('create', 'PersistentVolume', error, { times: afterEffect ? 1 : 3, afterEffect });
        world.claim();
        await world.pass(2_000);
        world.expectProvisioned();
        expect(world.driver.deletes).toEqual([]);
        expect(world.events().at(-1)).toBe(
          'Normal ProvisioningSucceeded: Successfully provisioned volume pvc-uid-1',
        );
      });
    }
  }

  it('is as patient as the server asks', async () => {
    await world.start();
    world.api.fail('create', 'PersistentVolume', new ApiError(429, 'TooManyRequests', 'slow down', 700));
    world.claim();
    await world.pass(699);
    expect(world.volume()).toBeUndefined();
    await world.pass(1);
    world.expectProvisioned();
  });

  it('does not mind that the look at an existing PV fails', async () => {
    await world.start();
    world.api.fail('create', 'PersistentVolume', new ApiUnreachable('reset'), { afterEffect: true });
    world.api.fail('get', 'PersistentVolume', new ApiError(500, 'InternalError', 'etcd'));
    world.claim();
    await world.pass(2_000);
    world.expectProvisioned();
  });

  it.each([409, 500, 404])('does not mind that the phase cannot be written (%s)', async (status) => {
    await world.start();
    world.api.fail('patch', 'PersistentVolume', new ApiError(status, 'X', 'no'));
    world.claim();
    await world.pass(0);
    world.expectProvisioned();
    expect(world.volume()?.status?.phase).toBe('Pending');
    expect(world.events().at(-1)).toMatch(/ProvisioningSucceeded/);
  });

  it('notes on disk later what it could not note at once', async () => {
    await world.start();
    world.driver.onAcknowledge = () => {
      world.driver.onAcknowledge = undefined;
      throw new Error('disk');
    };
    world.claim();
    await world.pass(0);
    expect(world.driver.unacknowledged()).toHaveLength(1);
    world.bind();
    await world.pass(2_000);
    world.expectProvisioned();
  });
});

describe('a PV of the same name', () => {
  it('of another volume leaves no data of ours, and the claim is told', async () => {
    await world.start();
    world.api.before('create', 'PersistentVolume', () => {
      const csi = {
        driver: 'loam.dev',
        volumeHandle: 'pvc-uid-1',
        volumeAttributes: { 'loam.dev/pool-uuid': 'node-b-pool' },
      };
      world.api.put('PersistentVolume', aPersistentVolume({ spec: { csi }, status: { phase: 'Pending' } }));
    });
    world.claim();
    await world.pass(0);
    expect([...world.driver.volumes.keys()]).toEqual([]);
    expect(world.volume()?.spec.csi?.volumeAttributes).toEqual({ 'loam.dev/pool-uuid': 'node-b-pool' });
    expect(world.events().join()).toMatch(/ProvisioningUndone: deleted volume pvc-uid-1 on node node-a/);
  });

  it('over our very data keeps it, whatever claim it names by now', async () => {
    await world.start();
    world.api.before('create', 'PersistentVolume', () => {
      const claimRef = { namespace: 'shop', name: 'restored', uid: 'uid-9' };
      world.api.put('PersistentVolume', aPersistentVolume({ spec: { claimRef } }));
    });
    world.claim();
    await world.pass(0);
    expect(world.driver.deletes).toEqual([]);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    expect(world.driver.unacknowledged()).toEqual([]);
    expect(world.events().join()).not.toMatch(/ProvisioningSucceeded/);
  });
});

describe('a claim that changes while its volume is made', () => {
  const whileMaking = (change: () => void | Promise<void>): void => {
    world.driver.afterCreate = async (made) => {
      world.driver.afterCreate = undefined;
      await change();
      // the watch brings it
      await new Promise((resolve) => setImmediate(resolve));
      return made;
    };
  };

  it('by being deleted: nothing is left', async () => {
    await world.start();
    whileMaking(() => world.api.erase('PersistentVolumeClaim', 'shop/data'));
    world.claim();
    await world.pass(1_000);
    world.expectNothingLeft();
    expect(world.callsOf('PersistentVolumeClaim')).toEqual(['get data']);
  });

  it('by being deleted while a call that timed out is still at work: nothing is left once that has ended', async () => {
    await world.start();
    world.driver.onCreate = (request) => {
      world.driver.make(request);
      world.api.erase('PersistentVolumeClaim', 'shop/data');
      throw new CsiError('DEADLINE_EXCEEDED', 'CreateVolume did not answer within 10 s');
    };
    let isAtWork = true;
    world.driver.onDelete = () => {
      if (isAtWork) throw new CsiError('ABORTED', 'its creation is still running');
    };
    world.claim();
    await world.pass(5_000);
    expect(world.driver.deletes.length).toBeGreaterThan(1);
    isAtWork = false;
    await world.pass(60_000);
    world.expectNothingLeft();
  });

  it('by being made anew: the old one’s volume goes, the new one gets its own', async () => {
    await world.start();
    whileMaking(() => {
      world.api.erase('PersistentVolumeClaim', 'shop/data');
      world.claim({ metadata: { uid: 'uid-2' } });
    });
    world.claim();
    await world.pass(1_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-2']);
    expect(world.api.all('PersistentVolume').map(({ metadata }) => metadata.name)).toEqual(['pvc-uid-2']);
  });

  it('by being marked for deletion: it is carried through', async () => {
    await world.start();
    whileMaking(() => {
      world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
        claim.metadata.finalizers = ['kubernetes.io/pvc-protection'];
      });
      world.api.erase('PersistentVolumeClaim', 'shop/data');
    });
    world.claim();
    await world.pass(1_000);
    world.expectProvisioned();
  });

  it('by moving to another node: our data is undone with an event', async () => {
    await world.start();
    whileMaking(() => {
      world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
        claim.metadata.annotations = { [annotations.selectedNode]: 'node-b' };
      });
    });
    world.claim();
    await world.pass(1_000);
    world.expectNothingLeft();
    expect(world.events()).toContainEqual(
      'Normal ProvisioningUndone: deleted volume pvc-uid-1 on node node-a, begun in vain: node node-b provides this claim',
    );
  });

  it('by getting a static volume: our data is undone with an event', async () => {
    await world.start();
    whileMaking(() => {
      world.api.edit(
        'PersistentVolumeClaim',
        'shop/data',
        (claim) => void (claim.spec.volumeName = 'static-1'),
      );
    });
    world.claim();
    await world.pass(1_000);
    world.expectNothingLeft();
    expect(world.events().join()).toMatch(/begun in vain: the claim has the volume static-1/);
  });

  it('by a static volume reserved for it: no PV is written, and the data goes with the binding', async () => {
    await world.start();
    whileMaking(() => {
      const claimRef = { namespace: 'shop', name: 'data' };
      world.api.put(
        'PersistentVolume',
        aPersistentVolume({
          metadata: { name: 'static-1' },
          spec: { claimRef, csi: { driver: 'x', volumeHandle: 'y' } },
        }),
      );
    });
    world.claim();
    await world.pass(10_000);
    expect(world.volume()).toBeUndefined();
    world.api.edit(
      'PersistentVolumeClaim',
      'shop/data',
      (claim) => void (claim.spec.volumeName = 'static-1'),
    );
    await world.pass(0);
    world.expectNothingLeft();
  });

  it('by losing its class: the attempt goes on with the class that it began with', async () => {
    await world.start();
    whileMaking(() => world.api.erase('StorageClass', 'fast'));
    world.claim();
    await world.pass(0);
    world.expectProvisioned();
  });

  it('keeps what it has while the API does not say whether the claim is gone', async () => {
    await world.start();
    whileMaking(() => world.api.erase('PersistentVolumeClaim', 'shop/data'));
    world.api.fail('get', 'PersistentVolumeClaim', new ApiError(500, 'InternalError', 'etcd'));
    world.claim();
    await world.pass(500);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    await world.pass(1_000);
    world.expectNothingLeft();
  });

  it('keeps what it has while the API does not say whether a PV exists', async () => {
    await world.start();
    whileMaking(() => world.api.erase('PersistentVolumeClaim', 'shop/data'));
    world.api.fail('get', 'PersistentVolume', new ApiUnreachable('reset'));
    world.claim();
    await world.pass(500);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    await world.pass(1_000);
    world.expectNothingLeft();
  });

  it('only seems to be gone: the live look finds it, and nothing is undone', async () => {
    await world.start();
    whileMaking(() => world.api.erase('PersistentVolumeClaim', 'shop/data'));
    world.api.before('get', 'PersistentVolumeClaim', () => world.claim());
    world.claim();
    await world.pass(2_000);
    world.expectProvisioned();
    expect(world.driver.deletes).toEqual([]);
  });

  it('tries again when the undoing fails', async () => {
    await world.start();
    whileMaking(() => world.api.erase('PersistentVolumeClaim', 'shop/data'));
    world.driver.onDelete = () => {
      world.driver.onDelete = undefined;
      throw new CsiError('UNAVAILABLE', 'later');
    };
    world.claim();
    await world.pass(500);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    await world.pass(1_000);
    world.expectNothingLeft();
  });

  it('waits with the undoing as long as an unanswered write of the PV may take effect', async () => {
    await world.start();
    world.api.fail('create', 'PersistentVolume', new ApiUnreachable('timed out'));
    world.claim();
    await world.pass(0);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(unansweredMs - 1_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    await world.pass(2_000);
    world.expectNothingLeft();
  });

  it('carries a timed-out creation through after the claim was marked for deletion, and reclaims it after its end', async () => {
    await world.start();
    world.driver.afterCreate = () => {
      world.driver.afterCreate = undefined;
      world.api.edit(
        'PersistentVolumeClaim',
        'shop/data',
        (claim) => void (claim.metadata.finalizers = ['x/y']),
      );
      world.api.erase('PersistentVolumeClaim', 'shop/data');
      throw new CsiError('DEADLINE_EXCEEDED', 'slow disk');
    };
    world.claim();
    await world.pass(0);
    world.expectProvisioned();
    world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => void (claim.metadata.finalizers = []));
    world.release();
    await world.pass(2_000);
    world.expectNothingLeft();
  });
});

describe('without a ledger', () => {
  it('asks a strange driver again to learn what it made, and deletes that', async () => {
    const { api, driver, clock } = world;
    const provisioner = new Provisioner({ api, driver, settings, clock, log: silentLog, metrics: noMetrics });
    void provisioner.start(new AbortController().signal);
    await world.pass(0);
    driver.afterCreate = () => {
      driver.afterCreate = undefined;
      throw new CsiError('DEADLINE_EXCEEDED', 'slow disk');
    };
    world.claim();
    await world.pass(0);
    api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(2_000);
    world.expectNothingLeft();
    expect(driver.creates[0]?.parameters).not.toHaveProperty(['loam.dev/claim-uid']);
    await provisioner.stop();
  });
});
