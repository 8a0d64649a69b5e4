import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiUnreachable } from '../../../src/kube/api-error.ts';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import type { Provisioner } from '../../../src/provisioner/provisioner.ts';
import type { Orphans } from '../../../src/provisioner/orphans/orphans.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const soon = () => AbortSignal.timeout(5_000);

describe.each([false, true])('volumes that nobody stands for (scoped watch: %s)', (scoped) => {
  let world: World;
  let provisioner: Provisioner;
  beforeEach(async () => {
    world = new World();
    provisioner = await world.start({ scoped });
  });
  afterEach(() => world.end());
  const orphans = (): Orphans => {
    const { unowned } = provisioner;
    if (unowned === undefined) throw new Error('the provisioner has not started');
    return unowned.orphans;
  };
  const labels = { 'loam.dev/node': 'node-a' };
  const called = {
    'volume.kubernetes.io/selected-node': 'node-a',
    'volume.kubernetes.io/storage-provisioner': 'loam.dev',
  };
  const bound = async () => {
    world.claim({ metadata: { labels, annotations: called } });
    await world.pass(0);
    world.bind();
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  };
  const retain = async () => {
    const change = ({ spec }: PersistentVolume) => void (spec.persistentVolumeReclaimPolicy = 'Retain');
    world.api.edit('PersistentVolume', 'pvc-uid-1', change);
    await world.pass(0);
  };
  const deleteBoth = () => {
    world.deleteClaim();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
  };
  const kinds = async () =>
    (await orphans().list(soon())).map(({ held, decision }) => `${held.volumeId} ${decision.kind}`);
  const listsOfVolumes = () =>
    world.api.calls.filter(({ verb, kind }) => verb === 'list' && kind === 'PersistentVolume').length;

  it('are none while each has its PV, and then nobody is asked', async () => {
    await bound();
    world.api.calls.length = 0;
    expect(await kinds()).toEqual(['pvc-uid-1 owned']);
    expect(listsOfVolumes()).toBe(0);
  });

  it('are there after policy Retain and kubectl delete pv, and no sweep takes them', async () => {
    await bound();
    await retain();
    expect(world.volume()?.metadata.finalizers).toEqual([]);
    deleteBoth();
    await world.pass(60 * 60_000);
    expect(await kinds()).toEqual(['pvc-uid-1 orphan']);
    expect(world.driver.deletes).toEqual([]);
  });

  it('are there after etcd was put back to a time before them, and no sweep takes them, nor a new start', async () => {
    await bound();
    // the copy of etcd was taken before the claim was made: neither was ever deleted
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => void (metadata.finalizers = []));
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    await world.pass(60 * 60_000);
    await world.end();
    provisioner = await world.start({ scoped });
    await world.pass(60 * 60_000);
    expect(await kinds()).toEqual(['pvc-uid-1 orphan']);
    expect(world.driver.deletes).toEqual([]);
  });

  it('are none after a claimRef was pointed at another claim, and no sweep takes them', async () => {
    await bound();
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ spec }) => {
      spec.claimRef = { namespace: 'rescue', name: 'data', uid: 'uid-rescue' };
    });
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(60 * 60_000);
    expect(await kinds()).toEqual(['pvc-uid-1 owned']);
    expect(world.driver.deletes).toEqual([]);
  });

  it('are not taken by the sweep where only the note that their PV was seen is lost, whatever that PV is called by now', async () => {
    await bound();
    await world.end();
    // as a power cut can leave it
    for (const entry of world.driver.volumes.values()) entry.isAcknowledged = false;
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => void (metadata.finalizers = []));
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'rescued', uid: 'pv-2', annotations: {}, finalizers: [] },
        spec: { claimRef: { namespace: 'rescue', name: 'data', uid: 'uid-rescue' } },
      }),
    );
    provisioner = await world.start({ scoped });
    await world.pass(60 * 60_000);
    expect(world.driver.deletes).toEqual([]);
    expect(world.driver.unacknowledged()).toEqual([]);
    expect(await kinds()).toEqual(['pvc-uid-1 owned']);
  });

  it('are none where a person just wrote a PV for them that the watch has not, or does not show', async () => {
    await bound();
    await retain();
    deleteBoth();
    await world.pass(0);
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({ metadata: { name: 'by-hand', uid: 'pv-2', annotations: {} } }),
    );
    // not passed: no watch has told of it
    expect(await kinds()).toEqual(['pvc-uid-1 owned']);
    expect((await orphans().look('pvc-uid-1', soon())).decision).toMatchObject({
      volume: { metadata: { name: 'by-hand' } },
    });
  });

  it('are not told while the API server does not answer', async () => {
    await bound();
    await retain();
    deleteBoth();
    await world.pass(0);
    world.api.fail('list', 'PersistentVolume', new ApiUnreachable('no answer'), { times: 1 });
    const { decision } = await orphans().look('pvc-uid-1', soon());
    expect(decision).toMatchObject({ kind: 'unknown' });
    expect(decision.reason).toContain('no answer');
    expect(await kinds()).toEqual(['pvc-uid-1 orphan']);
  });

  it('are worked on one after the other', async () => {
    const order: string[] = [];
    const first = Promise.withResolvers<void>();
    const one = orphans().alone('v', async () => {
      order.push('one begins');
      await first.promise;
      order.push('one ends');
      throw new Error('in vain');
    });
    const two = orphans().alone('v', () => Promise.resolve(void order.push('two')));
    await orphans().alone('other', () => Promise.resolve(void order.push('other')));
    first.resolve();
    await expect(one).rejects.toThrow('in vain');
    await two;
    expect(order).toEqual(['one begins', 'other', 'one ends', 'two']);
  });

  it('have no PV by a live look, also where nobody holds them any more', async () => {
    await bound();
    const poolUuid = world.driver.held()[0]?.poolUuid ?? '';
    const owner = async (id: string, pool = poolUuid) =>
      (await orphans().owner(id, pool, soon()))?.metadata.name;
    expect(await owner('pvc-uid-1')).toBe('pvc-uid-1');
    expect(await owner('pvc-uid-1', 'of another pool')).toBeUndefined();
    expect(await owner('sdb-1')).toBeUndefined();
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'by-hand', uid: 'pv-2', annotations: {} },
        spec: { csi: { driver: 'loam.dev', volumeHandle: 'sdb-1' } },
      }),
    );
    expect(await owner('sdb-1')).toBe('by-hand');
    world.api.fail('list', 'PersistentVolume', new ApiUnreachable('no answer'), { times: 1 });
    await expect(owner('sdb-1')).rejects.toThrow('no answer');
  });

  it('that are not here are not found', async () => {
    await expect(orphans().look('nowhere', soon())).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
