import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const called = { [annotations.storageProvisioner]: 'loam.dev', [annotations.selectedNode]: 'node-a' };

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.end());

describe('the claim loop', () => {
  it('gives an unannotated claim its volume with two writes and no read', async () => {
    await world.start();
    world.claim();
    await world.pass(0);
    world.expectProvisioned();
    expect(world.callsOf('PersistentVolume')).toEqual(['create pvc-uid-1', 'patch pvc-uid-1']);
    expect(world.callsOf('PersistentVolumeClaim')).toEqual([]);
    expect(world.volume()?.status?.phase).toBe('Bound');
    expect(world.events()).toEqual([
      'Normal Provisioning: External provisioner is provisioning volume for claim "shop/data"',
      'Normal ProvisioningSucceeded: Successfully provisioned volume pvc-uid-1',
    ]);
    expect(world.counted).toContain('controller_persistentvolumeclaim_provision_total');
    expect(world.clock.nowMs()).toBe(1_700_000_000_000);
  });

  it('waits for kube-controller-manager where told to, and leaves the phase to it', async () => {
    await world.start({ early: false, writePhase: false });
    world.claim();
    await world.pass(60_000);
    expect(world.driver.creates).toHaveLength(0);
    world.api.edit(
      'PersistentVolumeClaim',
      'shop/data',
      (claim) => void (claim.metadata.annotations = called),
    );
    await world.pass(0);
    world.expectProvisioned();
    expect(world.volume()?.status?.phase).toBe('Pending');
  });

  it('takes a claim that came before its class', async () => {
    world.api.erase('StorageClass', 'fast');
    await world.start();
    world.claim();
    await world.pass(0);
    expect(world.driver.creates).toHaveLength(0);
    world.api.put('StorageClass', aStorageClass());
    await world.pass(0);
    world.expectProvisioned();
  });

  it('retries a called claim without a class with back-off and without an event', async () => {
    world.api.erase('StorageClass', 'fast');
    await world.start();
    world.claim({ metadata: { annotations: called } });
    await world.pass(30_000);
    expect(world.events()).toEqual([]);
    expect(world.counted.filter((name) => name.endsWith('provision_failed_total')).length).toBeGreaterThan(2);
  });

  it('does not go early while a watch is being opened anew, and does soon after', async () => {
    await world.start();
    world.api.goDeaf();
    await world.pass(0);
    // the claim's own watch is the first to hear again; the others are still relisting
    world.claim();
    world.api.fail('list', 'StorageClass', new ApiError(500, 'InternalError', 'etcd'), { times: 2 });
    world.api.fail('watch', 'StorageClass', new ApiError(410, 'Expired', 'too old'), { times: 1 });
    world.api.hearAgain();
    await world.pass(1_500);
    await world.pass(120_000);
    world.expectProvisioned();
    expect(world.driver.creates).toHaveLength(1);
  });

  it('takes an unassigned Immediate claim where this node is the only one', async () => {
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'now', uid: 'class-2' }, volumeBindingMode: 'Immediate' }),
    );
    await world.start({ immediateOnThisNode: true });
    world.claim({ metadata: { annotations: {} }, spec: { storageClassName: 'now' } });
    await world.pass(0);
    world.expectProvisioned();
  });

  it('does nothing twice on a second look', async () => {
    await world.start();
    await world.bound();
    await world.pass(3 * 15 * 60_000);
    expect(world.driver.creates).toHaveLength(1);
    expect(world.callsOf('PersistentVolume').filter((call) => call.startsWith('create'))).toHaveLength(1);
  });

  it('says Provisioning of a slow attempt while it runs', async () => {
    await world.start();
    const gate = Promise.withResolvers<void>();
    world.driver.onCreate = () => gate.promise;
    world.claim();
    await world.pass(99);
    expect(world.events()).toEqual([]);
    await world.pass(1);
    expect(world.events()).toEqual([
      'Normal Provisioning: External provisioner is provisioning volume for claim "shop/data"',
    ]);
    gate.resolve();
    await world.pass(0);
    world.expectProvisioned();
  });
});

describe('a claim that is refused', () => {
  it('is told why, once, in upstream’s words', async () => {
    await world.start();
    world.claim({ metadata: { annotations: called }, spec: { selector: {} } });
    await world.pass(10 * 60_000);
    expect(world.events()).toEqual([
      'Normal Provisioning: External provisioner is provisioning volume for claim "shop/data"',
      'Warning ProvisioningFailed: failed to provision volume with StorageClass "fast": claim Selector is not supported',
    ]);
    expect(world.driver.creates).toHaveLength(0);
  });

  it('is left to its populator', async () => {
    await world.start();
    world.claim({
      metadata: { annotations: called },
      spec: { dataSourceRef: { apiGroup: 'p.example', kind: 'Image', name: 'i' } },
    });
    await world.pass(60_000);
    expect(world.events()).toEqual([
      'Normal Provisioning: Assuming an external populator will provision the volume',
    ]);
  });

  it('is not sent to the driver with a reserved key that nobody knows', async () => {
    world.api.edit(
      'StorageClass',
      'fast',
      (it) => void (it.parameters = { 'csi.storage.k8s.io/nonsense': 'x' }),
    );
    await world.start();
    world.claim();
    await world.pass(0);
    expect(world.events()[1]).toMatch(/found unknown parameter key "csi.storage.k8s.io\/nonsense"/);
    expect(world.driver.creates).toHaveLength(0);
  });
});

describe('when the driver fails', () => {
  const failOnce = (code: ConstructorParameters<typeof CsiError>[0]): void => {
    world.driver.onCreate = () => {
      world.driver.onCreate = undefined;
      throw new CsiError(code, 'no');
    };
  };

  it('retries a final answer with back-off', async () => {
    await world.start();
    failOnce('INTERNAL');
    world.claim();
    await world.pass(0);
    expect(world.events()[1]).toBe(
      'Warning ProvisioningFailed: failed to provision volume with StorageClass "fast": rpc error: code = Internal desc = no',
    );
    await world.pass(1_000);
    world.expectProvisioned();
  });

  it('rests for five minutes when the claim is infeasible, and says so', async () => {
    await world.start();
    failOnce('INVALID_ARGUMENT');
    world.claim();
    await world.pass(299_999);
    expect(world.driver.creates).toHaveLength(1);
    expect(world.events()[1]).toBe(
      'Warning ProvisioningFailed: Volume provisioning failed with infeasible error. Retries will be delayed. rpc error: code = InvalidArgument desc = no',
    );
    await world.pass(2);
    world.expectProvisioned();
  });

  it('tries an infeasible claim at once when its class is made anew', async () => {
    await world.start();
    failOnce('INVALID_ARGUMENT');
    world.claim();
    await world.pass(1_000);
    world.api.erase('StorageClass', 'fast');
    world.api.put('StorageClass', aStorageClass({ metadata: { uid: 'class-2' } }));
    await world.pass(0);
    world.expectProvisioned();
  });

  it('sends a claim to another node when this one is full, and does not take it back', async () => {
    await world.start();
    world.driver.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'full');
    };
    world.claim();
    await world.pass(60_000);
    expect(world.driver.creates).toHaveLength(1);
    const claim = world.api.peek('PersistentVolumeClaim', 'shop/data');
    expect(claim?.metadata.annotations).not.toHaveProperty([annotations.selectedNode]);
    expect(world.events()[1]).toMatch(/code = ResourceExhausted desc = full/);
    world.expectNothingLeft();
  });

  it('believes its own write before the watch brings it', async () => {
    await world.start();
    world.driver.onCreate = async () => {
      // news that have the claim looked at once more, and then none
      world.api.edit(
        'PersistentVolumeClaim',
        'shop/data',
        (claim) => void (claim.metadata.labels = { a: 'b' }),
      );
      await new Promise((resolve) => setImmediate(resolve));
      world.api.goDeaf();
      throw new CsiError('RESOURCE_EXHAUSTED', 'full');
    };
    world.claim({ metadata: { annotations: called } });
    await world.pass(100);
    expect(world.driver.creates).toHaveLength(1);
  });

  it('does not take the node off a claim that changed meanwhile', async () => {
    await world.start();
    world.driver.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'full');
    };
    world.api.before('patch', 'PersistentVolumeClaim', () => {
      world.api.edit('PersistentVolumeClaim', 'shop/data', (claim) => {
        claim.metadata.annotations = { [annotations.selectedNode]: 'node-b' };
      });
    });
    world.claim();
    await world.pass(60_000);
    const claim = world.api.peek('PersistentVolumeClaim', 'shop/data');
    expect(claim?.metadata.annotations?.[annotations.selectedNode]).toBe('node-b');
    expect(world.driver.creates).toHaveLength(1);
  });

  it('keeps trying for an Immediate claim on a full node, with one event', async () => {
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { name: 'now', uid: 'class-2' }, volumeBindingMode: 'Immediate' }),
    );
    await world.start({ immediateOnThisNode: true });
    world.driver.onCreate = () => {
      throw new CsiError('RESOURCE_EXHAUSTED', 'full');
    };
    world.claim({ metadata: { annotations: {} }, spec: { storageClassName: 'now' } });
    await world.pass(30_000);
    expect(world.driver.creates.length).toBeGreaterThan(3);
    expect(world.events()).toHaveLength(2);
    world.driver.onCreate = undefined;
    await world.pass(60_000);
    world.expectProvisioned();
  });

  it('deletes a volume that is too small and tries again', async () => {
    await world.start();
    world.driver.afterCreate = (made) => {
      world.driver.afterCreate = undefined;
      return { ...made, capacityBytes: 5n };
    };
    world.claim();
    await world.pass(0);
    world.expectNothingLeft();
    expect(world.driver.deletes).toMatchObject([{ volumeId: 'pvc-uid-1' }]);
    await world.pass(1_000);
    world.expectProvisioned();
  });

  it('takes the requested size where the driver tells none', async () => {
    await world.start();
    world.driver.afterCreate = (made) => ({ ...made, capacityBytes: 0n });
    world.claim();
    await world.pass(0);
    expect(world.volume()?.spec.capacity).toEqual({ storage: '1Gi' });
  });

  it('makes anew what was begun with the parameters of a class that is gone', async () => {
    await world.start();
    world.driver.afterCreate = () => {
      world.driver.afterCreate = undefined;
      throw new CsiError('DEADLINE_EXCEEDED', 'slow disk');
    };
    world.claim();
    await world.pass(0);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
    world.api.erase('StorageClass', 'fast');
    world.api.put(
      'StorageClass',
      aStorageClass({ metadata: { uid: 'class-2' }, parameters: { backend: 'loopback' } }),
    );
    await world.pass(2_000);
    world.expectProvisioned();
    expect(world.driver.volumes.get('pvc-uid-1')?.request.parameters).toMatchObject({ backend: 'loopback' });
  });
});
