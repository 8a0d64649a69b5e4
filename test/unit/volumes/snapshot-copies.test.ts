import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { failureOf } from '../../support/failure-of.ts';
import { callFor, diskOf, GiB, until, VolumeLab } from '../../support/volume-lab.ts';
import { pauseCopies, promised, stage, startWithVolume } from './lab-volume.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
  lab.directory.isSharing = false;
  lab.directory.written = GiB;
});
afterEach(() => lab.clear());

const request = { name: 's', sourceVolumeId: 'pvc-a', parameters: {} };
const all = { maxEntries: 0, startingToken: '' };

const folder = { backend: 'directory' };

describe('a full copy', () => {
  test('goes on when its caller has gone, is told as not ready, and the same call joins it', async () => {
    const process = await startWithVolume(lab, folder);
    const copies = pauseCopies(lab.directory, GiB / 2n);
    const first = await process.service.createSnapshot(request, callFor(1200));
    expect(first).toMatchObject({ snapshotId: 'snap_s', isReady: false, sizeBytes: GiB });
    expect((await process.service.listSnapshots(all)).entries).toEqual([first]);
    expect(await process.service.getSnapshot('snap_s')).toEqual(first);
    const second = process.service.createSnapshot(request, callFor());
    copies.finish();
    expect(await second).toEqual({ ...first, isReady: true, consistency: 'quiet' });
    expect(copies.count()).toBe(1);
    expect(process.environment.copies.get('snap_s')).toBeUndefined();
  });

  test('keeps its source from being deleted and from being written to, and says how far it is', async () => {
    const process = await startWithVolume(lab, folder);
    const copies = pauseCopies(lab.directory, GiB / 2n);
    await process.service.createSnapshot(request, callFor(1200));
    const failure = await failureOf(process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor()));
    expect(failure).toMatchObject({ reason: 'busy' });
    expect(String(failure)).toMatch(/volume pvc-a is being copied \(to snapshot s, 50 % of 1 GiB copied\)/);
    await expect(stage(lab, process)).rejects.toMatchObject({ reason: 'busy' });
    copies.finish();
    await process.service.createSnapshot(request, callFor());
    const stagingTargetPath = await stage(lab, process);
    await process.node.unstage({ volumeId: 'pvc-a', stagingTargetPath }, callFor());
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('of a live source lets it be staged elsewhere, since it was never quiet', async () => {
    const process = await startWithVolume(lab, folder);
    lab.mounts.add('/somewhere', join(lab.poolPath(), 'volumes', 'pvc-a', 'data'));
    const copies = pauseCopies(lab.directory, GiB / 2n);
    await process.service.createSnapshot(request, callFor(1200));
    await stage(lab, process);
    copies.finish();
    expect((await process.service.createSnapshot(request, callFor())).isReady).toBe(true);
  });

  test('that fails leaves nothing, tells whoever asks next, and begins anew after that', async () => {
    const process = await startWithVolume(lab, folder);
    const before = promised(process);
    lab.directory.duringCopy = async () => {
      throw new StorageError('out-of-space', 'the pool is full');
    };
    // it had failed before anybody could ask
    await expect(process.service.createSnapshot(request, callFor())).rejects.toMatchObject({
      reason: 'out-of-space',
    });
    expect(await lab.namesIn('snapshots')).toEqual([]);
    expect(promised(process)).toBe(before);
    expect(process.pools.open()[0]?.allocating.size).toBe(0);
    lab.directory.duringCopy = async () => {};
    expect((await process.service.createSnapshot(request, callFor())).isReady).toBe(true);
  });

  test('that fails while nobody waits is told to the next who asks', async () => {
    const process = await startWithVolume(lab, folder);
    let fail = (): void => {};
    lab.directory.duringCopy = () =>
      new Promise((_resolve, reject) => {
        fail = () => reject(new StorageError('out-of-space', 'the pool is full'));
      });
    expect((await process.service.createSnapshot(request, callFor(1200))).isReady).toBe(false);
    fail();
    await until(() => process.environment.copies.get('snap_s')?.failedAtMs !== undefined);
    expect((await process.service.listSnapshots(all)).entries).toEqual([]);
    lab.directory.duringCopy = async () => {};
    await expect(process.service.createSnapshot(request, callFor())).rejects.toMatchObject({
      reason: 'out-of-space',
    });
    expect((await process.service.createSnapshot(request, callFor())).isReady).toBe(true);
  });

  test('is given up when its snapshot is deleted, and nothing of it is left', async () => {
    const process = await startWithVolume(lab, folder);
    pauseCopies(lab.directory, GiB / 2n);
    await process.service.createSnapshot(request, callFor(1200));
    const joined = failureOf(process.service.createSnapshot(request, callFor()));
    await until(() => !process.environment.locks.holds('snap_s'));
    await process.service.deleteSnapshot('snap_s', callFor());
    expect(await lab.namesIn('snapshots')).toEqual([]);
    expect(await joined).toMatchObject({ reason: 'cancelled' });
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('is stopped with the process, and the next start removes what there is', async () => {
    const process = await startWithVolume(lab, folder);
    pauseCopies(lab.directory, GiB / 2n);
    await process.service.createSnapshot(request, callFor(1200));
    await process.stop();
    expect(existsSync(join(lab.poolPath(), 'snapshots', 'snap_s', 'data.half'))).toBe(true);
    const next = await lab.start();
    expect(await lab.namesIn('snapshots')).toEqual([]);
    lab.directory.duringCopy = async () => {};
    expect((await next.service.createSnapshot(request, callFor())).isReady).toBe(true);
  });

  test('more than two wait for their turn, and one that is deleted while it waits is never begun', async () => {
    const process = await startWithVolume(lab, folder);
    const copies = pauseCopies(lab.directory, GiB / 2n);
    for (const name of ['s1', 's2', 's3']) {
      await process.service.createSnapshot({ ...request, name }, callFor(1200));
    }
    expect(copies.count()).toBe(2);
    expect((await process.service.listSnapshots(all)).entries).toHaveLength(3);
    // somebody's, who has put it there meanwhile
    const foreign = join(lab.poolPath(), 'snapshots', 'snap_s3');
    await mkdir(foreign);
    await process.service.deleteSnapshot('snap_s3', callFor());
    expect(existsSync(foreign)).toBe(true);
    expect((await process.service.listSnapshots(all)).entries).toHaveLength(2);
    copies.finish();
    for (const name of ['s1', 's2']) {
      const made = await process.service.createSnapshot({ ...request, name }, callFor());
      expect(made.isReady).toBe(true);
    }
    expect(copies.count()).toBe(2);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  test('that has waited for its turn is of the time when that came', async () => {
    const process = await startWithVolume(lab, folder);
    const copies = pauseCopies(lab.directory, GiB / 2n);
    for (const name of ['s1', 's2', 's3']) {
      await process.service.createSnapshot({ ...request, name }, callFor(1200));
    }
    const finishedMs = Date.now();
    expect((await process.service.getSnapshot('snap_s3')).createdAtMs).toBeLessThan(finishedMs);
    copies.finish();
    const made = await process.service.createSnapshot({ ...request, name: 's3' }, callFor());
    expect(made.isReady).toBe(true);
    expect(made.createdAtMs).toBeGreaterThanOrEqual(finishedMs);
  });

  test('counts in full from the beginning, so that two cannot be promised the same space', async () => {
    const process = await startWithVolume(lab, folder, { statFileSystem: diskOf(3n * GiB) });
    const copies = pauseCopies(lab.directory, GiB / 2n);
    await process.service.createSnapshot({ ...request, name: 's1' }, callFor(1200));
    await process.service.createSnapshot({ ...request, name: 's2' }, callFor(1200));
    const failure = await failureOf(process.service.createSnapshot({ ...request, name: 's3' }, callFor()));
    expect(failure).toMatchObject({ reason: 'out-of-space' });
    expect(String(failure)).toMatch(
      /snapshot s3 of volume pvc-a keeps up to 1 GiB, pool one has 0 .* of 3 GiB/,
    );
    expect(await lab.namesIn('snapshots')).toEqual(['snap_s1', 'snap_s2']);
    copies.finish();
  });

  test('cannot be undone: the intent stays and counts, and a repeat tries again', async () => {
    const process = await startWithVolume(lab, folder);
    lab.directory.duringCopy = async () => {
      throw new Error('it broke');
    };
    lab.directory.discard = async () => {
      throw new Error('the disk hangs');
    };
    await expect(process.service.createSnapshot(request, callFor())).rejects.toMatchObject({
      reason: 'still-removing',
    });
    expect(await lab.namesIn('snapshots')).toEqual(['snap_s']);
    expect((await process.service.listSnapshots(all)).entries).toMatchObject([{ isReady: false }]);
    delete lab.directory.discard;
    lab.directory.duringCopy = async () => {};
    expect((await process.service.createSnapshot(request, callFor())).isReady).toBe(true);
  });
});
