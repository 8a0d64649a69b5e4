import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import { undelete, type UndeleteResult } from '../../../src/cli/undelete/undelete.ts';
import { Life } from '../provisioner/life.ts';
import { World } from '../provisioner/world.ts';

const mark = 'loam.dev/reclaiming';

describe('loam undelete, beside a node that would reclaim', () => {
  let world: World;
  let told: string[];
  beforeEach(() => {
    world = new World();
    told = [];
  });
  afterEach(() => world.end());
  const run = (changes: object = {}, api: KubeApi = world.api): Promise<UndeleteResult> =>
    undelete(
      api,
      { volumeName: 'pvc-uid-1', driverName: 'loam.dev', apply: true, isRehearsal: false, ...changes },
      (line) => told.push(line),
      AbortSignal.timeout(5_000),
    );
  /** Its claim is deleted; Retain keeps the node from destroying it before we come. */
  const release = async (isGoing: boolean, policy: 'Retain' | 'Delete' = 'Retain') => {
    await world.start();
    await world.bound();
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ spec, metadata }) => {
      spec.persistentVolumeReclaimPolicy = policy;
      metadata.annotations = { ...metadata.annotations, 'loam.dev/retain-for': '24h' };
      // someone else's, so that it does not go before we come
      if (isGoing) metadata.finalizers = ['else.dev/keep'];
    });
    await world.pass(0);
    if (isGoing) world.api.erase('PersistentVolume', 'pvc-uid-1');
    world.deleteClaim();
    await world.pass(0);
  };
  const claim = () => world.api.peek('PersistentVolumeClaim', 'shop/data');
  const offered = (name: string) => world.volume(name)?.spec.claimRef;

  it('gives the volume to a claim of the old name, and the same once more changes nothing', async () => {
    await release(false);
    expect(await run()).toMatchObject({
      kind: 'done',
      waiting: { claim: { namespace: 'shop', name: 'data' }, volumeName: 'pvc-uid-1' },
    });
    expect(told).toEqual([
      'PersistentVolume pvc-uid-1 is Released and goes to claim shop/data',
      'created claim shop/data',
    ]);
    expect(offered('pvc-uid-1')).toMatchObject({ namespace: 'shop', name: 'data' });
    expect(offered('pvc-uid-1')?.uid ?? '').toBe('');
    expect(claim()?.spec).toMatchObject({
      volumeName: 'pvc-uid-1',
      resources: { requests: { storage: '1Gi' } },
    });
    const before = world.volume();
    expect(await run()).toMatchObject({ kind: 'done' });
    expect(world.volume()).toEqual(before);
    await world.pass(60 * 60_000);
    expect(world.driver.deletes).toEqual([]);
  });

  it('prints the claim where it is not to create it', async () => {
    await release(false);
    const { kind, manifest } = await run({ apply: false, to: { namespace: 'rescue', name: 'copy' } });
    expect(kind).toBe('claim-missing');
    expect(manifest?.metadata).toEqual({ namespace: 'rescue', name: 'copy' });
    expect(world.api.peek('PersistentVolumeClaim', 'rescue/copy')).toBeUndefined();
    expect(offered('pvc-uid-1')).toMatchObject({ namespace: 'rescue', name: 'copy' });
  });

  it('changes nothing in a rehearsal', async () => {
    await release(false);
    const before = world.volume();
    expect(await run({ isRehearsal: true })).toMatchObject({ kind: 'done', reason: /goes to claim/ });
    expect(world.volume()).toEqual(before);
    expect(claim()).toBeUndefined();
  });

  it('says what to do where there is no such PV', async () => {
    expect(await run()).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('loam gc --dry-run') as unknown,
    });
  });

  it('refuses once the node has marked the volume, also when that happens under its hands', async () => {
    await release(false);
    const late: KubeApi = {
      ...boundTo(world.api),
      patch: (kind, key, patch, signal, subresource) => {
        world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => {
          metadata.annotations = { ...metadata.annotations, [mark]: 'uid-1' };
        });
        return world.api.patch(kind, key, patch, signal, subresource);
      },
    };
    expect(await run({}, late)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('is being destroyed') as unknown,
    });
    expect(offered('pvc-uid-1')).toMatchObject({ uid: 'uid-1' });
    expect(claim()).toBeUndefined();
  });

  it('gives up where others are always faster', async () => {
    await release(false);
    const busy: KubeApi = {
      ...boundTo(world.api),
      patch: (kind, key, patch, signal, subresource) => {
        world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => {
          metadata.annotations = { ...metadata.annotations, busy: `${Math.random()}` };
        });
        return world.api.patch(kind, key, patch, signal, subresource);
      },
    };
    expect(await run({}, busy)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('repeat') as unknown,
    });
  });

  it('puts another PV in the place of one that is being deleted', async () => {
    await release(true);
    expect(await run()).toMatchObject({ kind: 'done' });
    expect(claim()?.spec.volumeName).toBe('pvc-uid-1-undeleted');
    expect(offered('pvc-uid-1-undeleted')).toMatchObject({ namespace: 'shop', name: 'data' });
    expect(world.volume()?.spec.persistentVolumeReclaimPolicy).toBe('Retain');
    world.api.edit('PersistentVolume', 'pvc-uid-1', ({ metadata }) => void (metadata.finalizers = []));
    await world.pass(60 * 60_000);
    expect(world.volume()).toBeUndefined();
    expect(world.driver.volumes.size).toBe(1);
    expect(world.driver.deletes).toEqual([]);
    expect(await run()).toMatchObject({ kind: 'done' });
  });

  describe.each([
    ['a released volume', false],
    ['one that is being deleted', true],
  ])('of %s, killed after each call and run again', (_, isGoing) => {
    it.each([false, true])('comes to the same end (the call took effect: %s)', async (takesEffect) => {
      let steps = 0;
      for (let isOver = true; isOver; steps += 1) {
        world = new World();
        await release(isGoing);
        const life = new Life(steps, takesEffect);
        const mortal = life.wrap(world.api, ['get', 'list', 'create', 'patch']);
        const ended = run({}, mortal);
        await Promise.race([ended, world.pass(0)]);
        await world.pass(1_000);
        isOver = life.isOver;
        expect(await run()).toMatchObject({ kind: 'done' });
        const name = isGoing ? 'pvc-uid-1-undeleted' : 'pvc-uid-1';
        expect(claim()?.spec.volumeName).toBe(name);
        expect(offered(name)).toMatchObject({ namespace: 'shop', name: 'data' });
        expect(world.driver.deletes).toEqual([]);
        await world.end();
      }
      expect(steps).toBeGreaterThan(isGoing ? 10 : 6);
    });
  });
});

function boundTo(api: World['api']): KubeApi {
  return {
    get: (...parts) => api.get(...parts),
    list: (...parts) => api.list(...parts),
    create: (...parts) => api.create(...parts),
    patch: (...parts) => api.patch(...parts),
    remove: (...parts) => api.remove(...parts),
    watch: (...parts) => api.watch(...parts),
  };
}
