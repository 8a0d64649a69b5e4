import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { attachedDevices } from '../../src/host/loop-devices.ts';
import { DiskLab, directory, MiB, volume } from '../support/disk-lab.ts';
import { failureOf } from '../support/failure-of.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor, until, type LabProcess } from '../support/volume-lab.ts';

const why = whyNoScratchPool('xfs') || whyNoScratchPool('btrfs');
const image = { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'ext4' };
const sync = (path: string): unknown => execFileSync('sync', ['-f', path]);

const snap = ({ service }: LabProcess, name: string, parameters: Readonly<Record<string, string>> = {}) =>
  service.createSnapshot({ name, sourceVolumeId: 'pvc-a', parameters }, callFor(60_000));

/** What a file in a snapshot's image says, seen through a copy of it. */
function readFromImage(lab: DiskLab, snapshotId: string, file: string): string {
  const copy = join(lab.disk.basePath, 'copy.img');
  const mountPoint = join(lab.disk.basePath, 'copy');
  copyFileSync(lab.at('snapshots', snapshotId, 'image'), copy);
  mkdirSync(mountPoint, { recursive: true });
  execFileSync('mount', ['-o', 'loop', copy, mountPoint]);
  try {
    return readFileSync(join(mountPoint, file), 'utf8');
  } finally {
    execFileSync('umount', [mountPoint]);
  }
}

describe.skipIf(why !== '')(`snapshots on a real disk${why}`, () => {
  it('of a mounted image on xfs are of one moment, frozen, and stay when the source goes on and goes', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters: image }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    const file = join(lab.stagingOf('pvc-a'), 'file');
    writeFileSync(file, 'before');
    expect(await snap(process, 's')).toMatchObject({ isReady: true, consistency: 'frozen' });
    writeFileSync(file, 'after!');
    sync(file);
    expect(readFromImage(lab, 'snap_s', 'file')).toBe('before');
    await lab.unstage(process, 'pvc-a');
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    expect(readFromImage(lab, 'snap_s', 'file')).toBe('before');
    await process.service.deleteSnapshot('snap_s', callFor());
    lab.expectEmpty(process);
  });

  it('count what they share until it was overwritten, as the file system tells, also after a restart', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const clock = new ManualClock(Date.now());
    const process = await lab.start({ clock });
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters: image }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    const file = join(lab.stagingOf('pvc-a'), 'file');
    writeFileSync(file, Buffer.alloc(16 << 20, 'a'));
    sync(file);
    await snap(process, 's');
    const records = process.pools.open()[0]?.records;
    const shared = (): bigint => records?.sharedBytes('pvc-a') ?? 0n;
    expect(shared()).toBeGreaterThan(16n * MiB);
    expect(records?.unwrittenBytes).toBe(64n * MiB);
    writeFileSync(file, Buffer.alloc(16 << 20, 'b'), { flag: 'r+' });
    sync(file);
    await until(async () => {
      // a minute later, somebody asks for room
      await clock.advance(61_000);
      await process.service.getCapacity({ capabilities: [], parameters: image });
      return shared() < 8n * MiB;
    }, 20_000);
    expect(records?.unwrittenBytes).toBeLessThan(60n * MiB);
    const unwritten = records?.unwrittenBytes ?? 0n;
    await process.stop();
    const next = await lab.start();
    const afterRestart = next.pools.open()[0]?.records;
    // measured at the start: little is shared any more
    expect(afterRestart?.sharedBytes('pvc-a')).toBeLessThan(8n * MiB);
    expect(afterRestart?.unwrittenBytes).toBeLessThan(unwritten + 4n * MiB);
    await next.service.deleteSnapshot('snap_s', callFor());
    await lab.unstage(next, 'pvc-a');
    await next.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(next);
  });

  it('of images on ext4 are copied in full and sparse while nobody uses them, and refused while somebody does', async () => {
    await using lab = await DiskLab.make('ext4', 256);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters: image }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    writeFileSync(join(lab.stagingOf('pvc-a'), 'file'), 'before');
    expect(await failureOf(snap(process, 's', { consistency: 'accept' }))).toMatchObject({
      reason: 'not-consistent',
    });
    await lab.unstage(process, 'pvc-a');
    expect(await snap(process, 's')).toMatchObject({ isReady: true, consistency: 'quiet' });
    expect(readFromImage(lab, 'snap_s', 'file')).toBe('before');
    const record = process.pools.open()[0]?.snapshotRecords.get('snap_s');
    expect(record?.addedBytes).toBeGreaterThan(0n);
    expect(record?.addedBytes).toBeLessThan(32n * MiB);
    await process.service.deleteSnapshot('snap_s', callFor());
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(process);
  });

  it('that do not fit any more when they are copied fail as out of space, and leave nothing', async () => {
    await using lab = await DiskLab.make('ext4', 128);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', 100n * MiB, { parameters: image }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    writeFileSync(join(lab.stagingOf('pvc-a'), 'file'), Buffer.alloc(48 << 20, 'x'));
    await lab.unstage(process, 'pvc-a');
    writeFileSync(lab.at('filler'), Buffer.alloc(40 << 20, 'x'));
    expect(await failureOf(snap(process, 's'))).toMatchObject({ reason: 'out-of-space' });
    expect(process.pools.open()[0]?.snapshotRecords.size).toBe(0);
    execFileSync('rm', [lab.at('filler')]);
    expect((await snap(process, 's')).isReady).toBe(true);
    await process.service.deleteSnapshot('snap_s', callFor());
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(process);
  });

  it('of subvolumes are atomic, independent, and gone without a trace, nested subvolumes of pods too', async () => {
    await using lab = await DiskLab.make('btrfs', 512);
    const process = await lab.start();
    const parameters = { backend: 'btrfs', limit: 'advisory', onDelete: 'scrub', scrub: 'discard' };
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    const file = join(lab.stagingOf('pvc-a'), 'file');
    writeFileSync(file, 'before');
    expect(await snap(process, 's')).toMatchObject({ isReady: true, consistency: 'atomic' });
    const nested = join(lab.stagingOf('pvc-a'), 'nested');
    execFileSync('btrfs', ['-q', 'subvolume', 'create', nested]);
    writeFileSync(join(nested, 'file'), 'inside');
    expect(await failureOf(snap(process, 'deep'))).toMatchObject({ reason: 'not-consistent' });
    const deep = await snap(process, 'deep', { consistency: 'accept' });
    expect(deep).toMatchObject({ isReady: true, consistency: 'loose' });
    expect(readFileSync(lab.at('snapshots/snap_deep/data/nested/file'), 'utf8')).toBe('inside');
    writeFileSync(file, 'after!');
    expect(readFileSync(lab.at('snapshots/snap_s/data/file'), 'utf8')).toBe('before');
    await lab.unstage(process, 'pvc-a');
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await process.stop();
    const next = await lab.start();
    expect(await next.service.getSnapshot('snap_s')).toMatchObject({ isReady: true, consistency: 'atomic' });
    await next.service.deleteSnapshot('snap_s', callFor());
    await next.service.deleteSnapshot('snap_deep', callFor());
    lab.expectEmpty(next);
    const left = execFileSync('btrfs', ['subvolume', 'list', lab.disk.path], { encoding: 'utf8' });
    expect(left).not.toMatch(/snap_|pvc-a|trash/);
  });

  it('of a subvolume that nobody writes to pin no more than the first of them, by its quota', async () => {
    await using lab = await DiskLab.make('btrfs', 512);
    execFileSync('btrfs', ['quota', 'enable', lab.disk.path]);
    const process = await lab.start();
    const parameters = { backend: 'btrfs', limit: 'advisory' };
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters }), callFor(60_000));
    await lab.stage(process, 'pvc-a');
    const file = join(lab.stagingOf('pvc-a'), 'file');
    writeFileSync(file, Buffer.alloc(16 << 20, 'a'));
    sync(file);
    const pinned = (): bigint => process.pools.open()[0]?.snapshotRecords.pinnedBytes ?? 0n;
    for (let index = 0; index < 20; index += 1) await snap(process, `s${index}`);
    expect(pinned()).toBeGreaterThanOrEqual(16n * MiB);
    expect(pinned()).toBeLessThan(18n * MiB);
    writeFileSync(file, Buffer.alloc(8 << 20, 'b'), { flag: 'r+' });
    sync(file);
    await snap(process, 'late');
    expect(pinned()).toBeGreaterThanOrEqual(24n * MiB);
    expect(pinned()).toBeLessThan(27n * MiB);
    await lab.unstage(process, 'pvc-a');
    for (let index = 0; index < 20; index += 1)
      await process.service.deleteSnapshot(`snap_s${index}`, callFor());
    await process.service.deleteSnapshot('snap_late', callFor());
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(process);
  });

  it('of directories share blocks where the disk can', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters: directory }), callFor());
    writeFileSync(lab.at('volumes/pvc-a/data/file'), Buffer.alloc(8 << 20, 'a'));
    expect(await snap(process, 's')).toMatchObject({ isReady: true, consistency: 'quiet' });
    expect(readFileSync(lab.at('snapshots/snap_s/data/file')).length).toBe(8 << 20);
    await process.service.deleteSnapshot('snap_s', callFor());
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(process);
  });

  it.each([
    ['an image', { ...image, onDelete: 'scrub' }],
    ['a directory', { ...directory, onDelete: 'scrub' }],
  ])(
    'of %s that is to be scrubbed keep its bytes, and the last to go takes them from the disk',
    async (_, parameters) => {
      await using lab = await DiskLab.make('xfs', 320);
      const process = await lab.start();
      await process.service.createVolume(volume('pvc-a', 32n * MiB, { parameters }), callFor(60_000));
      await lab.stage(process, 'pvc-a');
      const secret = `secret-${'x'.repeat(40)}-of-the-volume`;
      writeFileSync(join(lab.stagingOf('pvc-a'), 'file'), `${secret}\n`.repeat(2000));
      await lab.unstage(process, 'pvc-a');
      for (const name of ['s1', 's2']) expect(await snap(process, name)).toMatchObject({ isReady: true });
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
      await process.service.deleteSnapshot('snap_s1', callFor());
      expect(lab.disk.rawCount(secret)).toBeGreaterThanOrEqual(2000);
      await process.service.deleteSnapshot('snap_s2', callFor());
      lab.expectEmpty(process);
      expect(lab.disk.rawCount(secret)).toBe(0);
    },
  );

  it('leave no device attached', () => {
    expect(attachedDevices().filter(({ backingFile }) => backingFile.includes('snap_'))).toEqual([]);
  });
});
