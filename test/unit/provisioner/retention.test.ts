import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PersistentVolume } from '../../../src/kube/objects.ts';
import * as annotations from '../../../src/claims/annotations.ts';
import { aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { World } from './world.ts';

const hourMs = 3_600_000;
const minuteMs = 60_000;
const gib = 1n << 30n;

let world: World;
beforeEach(() => {
  world = new World();
  world.api.erase('StorageClass', 'fast');
  world.api.put('StorageClass', aStorageClass({ parameters: { retainFor: '24h' } }));
});
afterEach(() => world.end());

function editVolume(change: (volume: PersistentVolume) => void, name = 'pvc-uid-1'): void {
  world.api.edit('PersistentVolume', name, change);
}

function annotate(key: string, text: string | undefined): void {
  editVolume(({ metadata }) => {
    const { [key]: _, ...rest } = metadata.annotations ?? {};
    metadata.annotations = text === undefined ? rest : { ...rest, [key]: text };
  });
}

const noteOf = (key: string): string | undefined => world.volume()?.metadata.annotations?.[key];
const inMs = (afterMs: number): string => new Date(world.clock.nowMs() + afterMs).toISOString();
const said = (reason: string): string[] => world.events().filter((event) => event.includes(` ${reason}: `));

async function retained(): Promise<void> {
  await world.start();
  await world.bound();
  world.deleteClaim();
  await world.pass(0);
}

/** `loam undelete`, as the command writes it. */
function undelete(): void {
  editVolume((volume) => {
    volume.spec.claimRef = { namespace: 'shop', name: 'data' };
    volume.status = { phase: 'Available' };
  });
}

describe('a released volume with retain-for', () => {
  it('is left as it is, with its end noted and told once, then destroyed', async () => {
    const endsAt = inMs(24 * hourMs);
    await retained();
    expect(noteOf(annotations.retainedUntil)).toBe(endsAt);
    expect(said('VolumeRetained')).toEqual([
      `Normal VolumeRetained: retained until ${endsAt}, then deleted; to give it back to claim shop/data: loam undelete pvc-uid-1; to another: loam undelete pvc-uid-1 --to namespace/name`,
    ]);
    world.api.calls.length = 0;
    await world.pass(24 * hourMs - 1);
    expect(world.callsOf('PersistentVolume')).toEqual([]);
    expect(noteOf(annotations.reclaiming)).toBeUndefined();
    expect(world.driver.deletes).toEqual([]);
    await world.pass(1);
    world.expectNothingLeft();
  });

  it('is not noted while its claim is there when asked live', async () => {
    await world.start();
    await world.bound();
    world.api.before('get', 'PersistentVolumeClaim', () =>
      world.claim({ spec: { volumeName: 'pvc-uid-1' } }),
    );
    world.deleteClaim();
    await world.pass(0);
    expect(noteOf(annotations.retainedUntil)).toBeUndefined();
  });

  it('ends at the same time in a process that starts later', async () => {
    const provisioner = await world.start({}, { isMortal: true });
    await world.bound();
    world.deleteClaim();
    await world.pass(0);
    await provisioner.stop();
    await world.pass(20 * hourMs);
    await world.start();
    await world.pass(4 * hourMs - 1);
    expect(world.volume()).toBeDefined();
    await world.pass(1);
    world.expectNothingLeft();
  });

  it('ends later, or earlier, where a person says so', async () => {
    await retained();
    annotate(annotations.retainedUntil, inMs(48 * hourMs));
    await world.pass(47 * hourMs);
    expect(world.driver.deletes).toEqual([]);
    annotate(annotations.retainedUntil, inMs(minuteMs));
    await world.pass(minuteMs);
    world.expectNothingLeft();
  });

  it.each([annotations.retainFor, annotations.retainedUntil, annotations.onRelease])(
    'is not destroyed while nobody can read %s',
    async (key) => {
      await retained();
      annotate(key, 'soon');
      await world.pass(48 * hourMs);
      expect(world.driver.deletes).toEqual([]);
      expect(said('VolumeFailedDelete').join()).toMatch(/"soon".*nothing is destroyed/);
      annotate(key, undefined);
      await world.pass(24 * hourMs);
      world.expectNothingLeft();
    },
  );

  it('loses its note when somebody has it again, and is retained as long the next time', async () => {
    await retained();
    await world.pass(23 * hourMs);
    undelete();
    await world.pass(0);
    expect(noteOf(annotations.retainedUntil)).toBeUndefined();
    await world.pass(48 * hourMs);
    expect(world.driver.deletes).toEqual([]);
    editVolume((volume) => {
      volume.spec.claimRef = { namespace: 'shop', name: 'data', uid: 'uid-9' };
      volume.status = { phase: 'Bound' };
    });
    await world.pass(0);
    world.release();
    await world.pass(0);
    expect(noteOf(annotations.retainedUntil)).toBe(inMs(24 * hourMs));
  });

  it('is kept for good when its policy becomes Retain, without a note', async () => {
    await retained();
    editVolume((volume) => void (volume.spec.persistentVolumeReclaimPolicy = 'Retain'));
    await world.pass(48 * hourMs);
    expect(noteOf(annotations.retainedUntil)).toBeUndefined();
    expect([...world.driver.volumes.keys()]).toEqual(['pvc-uid-1']);
  });

  it('keeps its data until the end though its PV is deleted, which our finalizer holds', async () => {
    await retained();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    await world.pass(23 * hourMs);
    expect(world.volume()?.metadata.deletionTimestamp).toBeDefined();
    expect(world.driver.deletes).toEqual([]);
    await world.pass(hourMs);
    world.expectNothingLeft();
  });

  it('lets a PV that is being deleted go at once when another one was made over the same data', async () => {
    await retained();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    const csi = world.volume()?.spec.csi;
    if (csi === undefined) throw new Error('no CSI source');
    const claimRef = { namespace: 'shop', name: 'data' };
    world.api.put(
      'PersistentVolume',
      aPersistentVolume({
        metadata: { name: 'again', uid: 'pv-2' },
        spec: { csi, claimRef },
        status: { phase: 'Available' },
      }),
    );
    editVolume((volume) => void (volume.metadata.labels = { touched: 'yes' }));
    await world.pass(0);
    expect(world.volume()).toBeUndefined();
    await world.pass(48 * hourMs);
    expect(world.driver.deletes).toEqual([]);
  });

  it('is not destroyed where another PV was made over it in the last moment, before the watch tells', async () => {
    await retained();
    world.api.erase('PersistentVolume', 'pvc-uid-1');
    await world.pass(23 * hourMs);
    const csi = world.volume()?.spec.csi;
    if (csi === undefined) throw new Error('no CSI source');
    world.api.before('patch', 'PersistentVolume', () => {
      world.api.goDeaf();
      const claimRef = { namespace: 'shop', name: 'data' };
      const parts = { spec: { csi, claimRef }, status: { phase: 'Available' as const } };
      world.api.put(
        'PersistentVolume',
        aPersistentVolume({ metadata: { name: 'again', uid: 'pv-2' }, ...parts }),
      );
      // only lists and watches are refused while it is deaf
      world.api.before('get', 'PersistentVolume', () => world.api.hearAgain());
    });
    await world.pass(48 * hourMs);
    expect(world.driver.deletes).toEqual([]);
    expect(world.volume()).toBeUndefined();
    expect(world.volume('again')).toBeDefined();
  });

  it('is unmarked when its retention is moved on while it was still in use', async () => {
    await retained();
    world.driver.inUse.add('pvc-uid-1');
    await world.pass(24 * hourMs);
    expect(noteOf(annotations.reclaiming)).toBe('uid-1');
    annotate(annotations.retainedUntil, inMs(hourMs));
    world.driver.inUse.clear();
    await world.pass(minuteMs);
    expect(noteOf(annotations.reclaiming)).toBeUndefined();
    expect(world.volume()?.status?.phase).toBe('Released');
    await world.pass(hourMs);
    world.expectNothingLeft();
  });
});

describe('room that is short', () => {
  const limits = { retainedYieldBelow: 0.1 };
  const setRoom = (unpromisedBytes: bigint): void => {
    world.driver.poolRooms = [{ name: 'p', uuid: 'pool-1', sizeBytes: 100n * gib, unpromisedBytes }];
  };

  async function retainedWith(changes: Parameters<World['start']>[0]): Promise<void> {
    await world.start(changes);
    await world.bound();
    world.deleteClaim();
    await world.pass(0);
  }

  it('ends a retention, with the numbers, when the pool tells', async () => {
    setRoom(20n * gib);
    await retainedWith(limits);
    await world.pass(hourMs);
    setRoom(5n * gib);
    world.driver.spaceChanged.tell();
    await world.pass(1_000);
    expect(said('RetentionEnded')).toEqual([
      'Warning RetentionEnded: retained no longer: pool p has 5 GiB of 100 GiB left, less than the 10 GiB below which retained volumes yield',
    ]);
    world.expectNothingLeft();
    expect(world.counted).toContain('loam_retentions_ended_early_total');
  });

  it('is noticed within half a minute where nobody tells', async () => {
    setRoom(20n * gib);
    await retainedWith(limits);
    setRoom(5n * gib);
    await world.pass(31_000);
    world.expectNothingLeft();
  });

  it('ends none where it is not asked for, or where the room is enough', async () => {
    setRoom(5n * gib);
    await retainedWith({});
    await world.pass(hourMs);
    expect(world.driver.deletes).toEqual([]);
  });

  it('over a cap of the namespace ends a retention, too', async () => {
    await retainedWith({ retainedPerNamespaceBytes: gib - 1n });
    await world.pass(31_000);
    expect(said('RetentionEnded').join()).toMatch(
      /namespace shop has 1 GiB in retained volumes on this node/,
    );
    world.expectNothingLeft();
  });

  it('does not end a retention that an undelete ended in the same moment', async () => {
    setRoom(5n * gib);
    await world.start(limits);
    await world.bound();
    // the second write of the PV after its claim is gone is the early end
    world.api.before('patch', 'PersistentVolume', () =>
      world.api.before('patch', 'PersistentVolume', () => undelete()),
    );
    world.deleteClaim();
    await world.pass(hourMs);
    expect(world.driver.deletes).toEqual([]);
    expect(said('RetentionEnded')).toEqual([]);
    expect(noteOf(annotations.retainedUntil)).toBeUndefined();
  });

  it('spares what only moves to the archive, which gives no room back', async () => {
    world.api.erase('StorageClass', 'fast');
    world.api.put('StorageClass', aStorageClass({ parameters: { retainFor: '24h', onDelete: 'archive' } }));
    setRoom(5n * gib);
    await retainedWith(limits);
    await world.pass(hourMs);
    expect(world.driver.deletes).toEqual([]);
  });

  it('spares mounted disks, which have their own room', async () => {
    const heldOf = world.driver.heldOf.bind(world.driver);
    world.driver.heldOf = (volumeId) => heldOf(volumeId).map((held) => ({ ...held, backend: 'disk' }));
    setRoom(5n * gib);
    await retainedWith(limits);
    await world.pass(hourMs);
    expect(world.driver.deletes).toEqual([]);
  });
});
