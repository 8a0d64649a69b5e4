import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/api-error.ts';
import { CsiError } from '../../../src/model/status-code.ts';
import { progressMs } from '../../../src/provisioner/provision-reports.ts';
import { monday, old } from '../claims/sources.ts';
import { protections, SourceWorld } from './source-world.ts';

describe('a claim with a source', () => {
  let world: SourceWorld;
  beforeEach(() => {
    world = new SourceWorld();
  });
  afterEach(() => world.end());

  it('is told why its source cannot be had, and served soon after it can', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: false }),
    );
    await world.start();
    world.wish(monday);
    await world.pass(60_000);
    expect(world.driver.creates).toEqual([]);
    expect(world.events().at(-1)).toBe(
      'Warning ProvisioningFailed: failed to provision volume with StorageClass "fast": snapshot shop/monday is not ready to use yet',
    );
    expect(world.events()).toHaveLength(2);
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.status = { ...it.status, readyToUse: true }),
    );
    await world.pass(15_000);
    expect(world.volume()).toBeDefined();
  });

  it('is looked at again when its snapshot becomes ready, and not when its next look would be due', async () => {
    const ready = (isReady: boolean) => {
      world.api.edit(
        'VolumeSnapshotContent',
        'c-monday',
        (it) => void (it.status = { ...it.status, readyToUse: isReady }),
      );
    };
    const say = (isReady: boolean) => {
      world.api.edit(
        'VolumeSnapshot',
        'shop/monday',
        (it) => void (it.status = { ...it.status, readyToUse: isReady }),
      );
    };
    ready(false);
    say(false);
    await world.start({ snapshots: true });
    world.wish(monday);
    await world.pass(120_000);
    expect(world.driver.creates).toEqual([]);
    ready(true);
    await world.pass(100);
    // the snapshot-controller follows a moment later
    say(true);
    await world.pass(400);
    expect(world.volume()).toBeDefined();
  });

  it('is looked at again when the claim that it clones is bound', async () => {
    const phase = (name: 'Pending' | 'Bound') =>
      world.api.edit('PersistentVolumeClaim', 'shop/old', (it) => void (it.status = { phase: name }));
    phase('Pending');
    await world.start();
    world.wish(old);
    await world.pass(120_000);
    expect(world.driver.creates).toEqual([]);
    phase('Bound');
    await world.pass(0);
    expect(world.volume()).toBeDefined();
  });

  it('is asked for less and less often where the driver answers at once that it copies', async () => {
    await world.start();
    let asked = 0;
    world.driver.onCreate = () => {
      asked += 1;
      throw new CsiError('ABORTED', 'an operation with this id is under way');
    };
    world.wish(old);
    await world.pass(30_000);
    expect(asked).toBeGreaterThan(3);
    expect(asked).toBeLessThan(10);
  });

  it.each<[string, RegExp, (world: SourceWorld) => void]>([
    [
      'no snapshot of that name is there',
      /snapshot shop\/monday is not there$/,
      (it) => it.api.erase('VolumeSnapshot', 'shop/monday'),
    ],
    [
      'the cluster knows no snapshots',
      /external-snapshotter is not installed/,
      ({ api }) =>
        api.fail('get', 'VolumeSnapshot', new ApiError(404, 'NotFound', '404 page not found'), { times: 99 }),
    ],
  ])('is told so where %s', async (_, reason, change) => {
    change(world);
    await world.start();
    world.wish(monday);
    await world.pass(5_000);
    expect(world.events().at(-1)).toMatch(reason);
    expect(world.driver.creates).toEqual([]);
  });

  it('is not made of a snapshot that is being deleted, however long that takes, and told so', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.metadata.finalizers = ['example.dev/stay']),
    );
    world.api.erase('VolumeSnapshot', 'shop/monday');
    await world.start();
    world.wish(monday);
    await world.pass(60_000);
    expect(world.events().at(-1)).toBe(
      'Warning ProvisioningFailed: failed to provision volume with StorageClass "fast": snapshot shop/monday is being deleted; restore from another one',
    );
    expect(world.finalizersOf('snapshot')).toEqual(['example.dev/stay']);
    expect(world.driver.creates).toEqual([]);
    world.api.edit('VolumeSnapshot', 'shop/monday', (it) => void (it.metadata.finalizers = []));
    await world.pass(15_000);
    expect(world.events().at(-1)).toMatch(/snapshot shop\/monday is not there$/);
    expect(world.driver.creates).toEqual([]);
  });

  it('is made of a snapshot that is deleted after it was begun, which goes then', async () => {
    await world.start();
    world.driver.onCreate = async () => {
      world.driver.onCreate = undefined;
      world.api.erase('VolumeSnapshot', 'shop/monday');
      throw new CsiError('ABORTED', 'volume pvc-uid-1 is being copied: 10 % so far');
    };
    world.wish(monday);
    await world.pass(30_000);
    expect(world.volume()).toBeDefined();
    expect(world.api.peek('VolumeSnapshot', 'shop/monday')).toBeUndefined();
  });

  it('is not made of a snapshot whose deletion was quicker than its protection', async () => {
    world.api.edit(
      'VolumeSnapshot',
      'shop/monday',
      (it) => void (it.metadata.finalizers = ['example.dev/stay']),
    );
    await world.start();
    world.api.before('patch', 'VolumeSnapshot', () => world.api.erase('VolumeSnapshot', 'shop/monday'));
    world.wish(monday);
    await world.pass(15_000);
    expect(world.driver.creates).toEqual([]);
    expect(world.events().at(-1)).toMatch(/snapshot shop\/monday is being deleted/);
  });

  it('is told of progress now and then while it is copied, and nothing of failure', async () => {
    await world.start();
    let percent = 0;
    world.driver.onCreate = async () => {
      await world.clock.sleep(9_000, new AbortController().signal);
      percent += 10;
      if (percent < 100)
        throw new CsiError('ABORTED', `volume pvc-uid-1 is being copied: ${percent} % so far`);
    };
    world.wish(old);
    await world.pass(91_000);
    await world.pass(5_000);
    expect(world.volume()).toBeDefined();
    expect(world.events().filter((text) => text.startsWith('Warning'))).toEqual([]);
    const progress = world.events().filter((text) => text.startsWith('Normal ProvisioningCopies'));
    expect(progress).toHaveLength(Math.ceil(90_000 / progressMs));
    expect(world.driver.creates).toHaveLength(10);
    expect(world.counted).not.toContain('controller_persistentvolumeclaim_provision_failed_total');
  });

  it('deletes and makes anew what the driver made without saying of what', async () => {
    await world.start();
    world.driver.afterCreate = (made) => {
      world.driver.afterCreate = undefined;
      const { contentSource: _, ...rest } = made;
      return rest;
    };
    world.wish(old);
    await world.pass(0);
    expect(world.volume()).toBeUndefined();
    expect(world.driver.deletes.map(({ volumeId }) => volumeId)).toEqual(['pvc-uid-1']);
    await world.pass(1_000);
    expect(world.volume()).toBeDefined();
    expect(world.driver.creates).toHaveLength(2);
  });

  it('undoes a copy whose claim is deleted meanwhile, and lets go of the source', async () => {
    await world.start();
    world.driver.afterCreate = () => {
      throw new CsiError('ABORTED', 'still being copied');
    };
    world.wish(old);
    await world.pass(0);
    expect(world.finalizersOf('clone')).toEqual([protections.clone]);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5_000);
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-old']);
    expect(world.finalizersOf('clone')).toEqual([]);
  });

  it('ends a copy that stands in no record yet, when its claim is deleted meanwhile', async () => {
    await world.start();
    world.driver.onCreate = () => {
      throw new CsiError('ABORTED', 'still being copied');
    };
    world.wish(old);
    await world.pass(0);
    world.api.erase('PersistentVolumeClaim', 'shop/data');
    await world.pass(5_000);
    expect(world.driver.deletes.map(({ volumeId }) => volumeId)).toEqual(['pvc-uid-1']);
    const asked = world.driver.creates.length;
    await world.pass(60_000);
    expect(world.driver.creates).toHaveLength(asked);
  });
});
