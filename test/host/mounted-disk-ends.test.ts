import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  adopt,
  containing,
  cutShort,
  DiscoveredDisk,
  entriesOf,
  makeDisk,
  remove,
  startDiscovering,
  stuckAfter,
} from '../support/discovering.ts';
import { dyingAt } from '../support/dying.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('ext4') || whyNoScratchPool('xfs');
describe.skipIf(why !== '')(`volumes that are mounted disks${why}`, () => {
  it('are emptied when they are deleted, of everything but lost+found, and are new volumes then', async () => {
    await using found = await DiscoveredDisk.make();
    const { lab, process, path } = found;
    const outside = join(lab.disk.basePath, 'outside');
    mkdirSync(join(path, 'deep', 'er'), { recursive: true });
    writeFileSync(outside, 'not of the disk');
    writeFileSync(join(path, 'deep', 'er', 'file'), 'old');
    writeFileSync(join(path, 'lost+found', '#12'), 'old');
    writeFileSync(join(path, 'still'), 'old');
    symlinkSync(outside, join(path, 'link'));
    execFileSync('chattr', ['+i', join(path, 'still')]);
    execFileSync('chown', ['1234:4321', path]);
    execFileSync('chmod', ['2777', path]);
    const { volumeId } = await adopt(process, path);
    await remove(process, volumeId);
    expect(readdirSync(path)).toEqual(['lost+found']);
    expect(readdirSync(join(path, 'lost+found'))).toEqual([]);
    expect(readFileSync(outside, 'utf8')).toBe('not of the disk');
    const { uid, gid, mode } = statSync(path);
    expect([uid, gid, mode & 0o7777]).toEqual([0, 0, 0o755]);
    lab.expectEmpty(process);
    expect(await entriesOf(process)).toMatchObject([{ path }]);
    const again = await adopt(process, path);
    expect(again.volumeId).not.toBe(volumeId);
  });

  it.each(['ext4', 'xfs'] as const)('of %s keep nothing that has the name of lost+found', async (fsType) => {
    await using found = await DiscoveredDisk.make({ fsType });
    const { process, path } = found;
    execFileSync('rm', ['-rf', join(path, 'lost+found')]);
    if (fsType === 'xfs') mkdirSync(join(path, 'lost+found', 'a tenant'), { recursive: true });
    else writeFileSync(join(path, 'lost+found'), 'a tenant');
    const { volumeId } = await adopt(process, path);
    await remove(process, volumeId);
    expect(readdirSync(path)).toEqual([]);
  });

  it('are overwritten first where their class says scrub', async () => {
    await using found = await DiscoveredDisk.make({ fsType: 'ext4' });
    const { process, disk, path } = found;
    writeFileSync(join(path, 'file'), 'very-secret-token'.repeat(1000));
    const { volumeId } = await adopt(process, path, { onDelete: 'scrub' });
    await remove(process, volumeId);
    disk.unmount();
    expect(readFileSync(disk.imagePath).includes('very-secret-token')).toBe(false);
  });

  it('are emptied in place for the next claim when they are recycled', async () => {
    await using found = await DiscoveredDisk.make({ text: 'old' });
    const { lab, process, path } = found;
    const { volumeId } = await adopt(process, path);
    await process.service.recycle({ volumeId }, callFor());
    expect(readdirSync(path)).toEqual(['lost+found']);
    expect(process.service.held()).toMatchObject([{ volumeId, isRecycling: false, used: false }]);
    await lab.stage(process, volumeId);
    await lab.publish(process, volumeId);
    writeFileSync(join(lab.targetOf(volumeId), 'file'), 'next');
    await lab.unpublish(process, volumeId);
    await lab.unstage(process, volumeId);
    expect(readdirSync(path)).toContain('file');
    await process.service.recycle({ volumeId }, callFor());
    expect(readdirSync(path)).toEqual(['lost+found']);
  });

  it('are deleted where a pod has them twice at one place, since two of its folders of the node overlap', async () => {
    await using found = await DiscoveredDisk.make();
    const { process, path } = found;
    execFileSync('mount', ['--bind', path, path]);
    try {
      writeFileSync(join(path, 'file'), 'old');
      const { volumeId } = await adopt(process, path);
      await remove(process, volumeId);
      expect(readdirSync(path)).toEqual(['lost+found']);
    } finally {
      execFileSync('umount', [path]);
    }
  });

  it('with something mounted in them are left as they are', async () => {
    await using found = await DiscoveredDisk.make();
    const { process, path } = found;
    const inner = join(path, 'inner');
    mkdirSync(inner);
    writeFileSync(join(path, 'file'), 'kept');
    const { volumeId } = await adopt(process, path);
    execFileSync('mount', ['-t', 'tmpfs', 'none', inner]);
    try {
      expect(await failureOf(remove(process, volumeId))).toMatchObject({
        reason: 'in-use',
        message: containing(inner),
      });
      expect(readFileSync(join(path, 'file'), 'utf8')).toBe('kept');
    } finally {
      execFileSync('umount', [inner]);
    }
    await remove(process, volumeId);
    expect(readdirSync(path)).toEqual(['lost+found']);
  });

  it('that are away when the process dies in the middle of emptying them are emptied when they are back, and not offered before', async () => {
    const stuck = stuckAfter(1);
    await using found = await DiscoveredDisk.make({ pace: stuck.pace });
    const { lab, process: first, disk, path } = found;
    using other = makeDisk(lab, 'b');
    // more than are removed at once, so that some are left
    for (let index = 0; index < 200; index += 1) writeFileSync(join(path, `file-${index}`), 'old');
    const { volumeId } = await adopt(first, path);
    await cutShort(remove(first, volumeId), stuck.stuck);
    disk.unmount('--lazy');
    other.mount(path);
    writeFileSync(join(path, 'file'), 'of another');
    const next = await startDiscovering(lab);
    await expect
      .poll(() => next.pools.open()[0]?.trash.entries()[0]?.failure?.message)
      .toContain('mount it there again');
    expect(await entriesOf(next)).toMatchObject([{ path, obstacle: containing(volumeId) }]);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('of another');
    other.unmount();
    disk.mount(path);
    expect(await entriesOf(next)).toMatchObject([{ path, obstacle: containing('being emptied') }]);
    await next.stop();
    const last = await startDiscovering(lab);
    await expect.poll(() => last.pools.open()[0]?.trash.holds(volumeId), { timeout: 5000 }).toBe(false);
    expect(readdirSync(path)).toEqual(['lost+found']);
    expect((await entriesOf(last))[0]).not.toHaveProperty('obstacle');
  });

  it.each(['released', 'taken'] as const)(
    'whose deletion is killed after %s are empty after a repeat',
    async (when) => {
      const { reached, died } = dyingAt(when);
      await using found = await DiscoveredDisk.make({ text: 'old', reached, pace: stuckAfter(0).pace });
      const { lab, process: first, path } = found;
      const { volumeId } = await adopt(first, path);
      await cutShort(remove(first, volumeId), died);
      const next = await startDiscovering(lab);
      await remove(next, volumeId);
      expect(readdirSync(path)).toEqual(['lost+found']);
      lab.expectEmpty(next);
    },
  );

  it.each(['recycling', 'gathered', 'emptied', 'remade', 'renewed'] as const)(
    'whose recycling is killed after %s are empty after a repeat',
    async (when) => {
      const { reached, died } = dyingAt(when);
      await using found = await DiscoveredDisk.make({ text: 'old', reached });
      const { lab, process: first, path } = found;
      const { volumeId } = await adopt(first, path);
      await cutShort(first.service.recycle({ volumeId }, callFor()), died);
      const next = await startDiscovering(lab);
      await next.service.recycle({ volumeId }, callFor());
      expect(readdirSync(path)).toEqual(['lost+found']);
      expect(next.service.held()).toMatchObject([{ volumeId, isRecycling: false }]);
      await lab.stage(next, volumeId);
      await lab.unstage(next, volumeId);
    },
  );

  it('whose record is damaged keep what is on them, and nothing is taken that could be theirs', async () => {
    const stuck = stuckAfter(0);
    await using found = await DiscoveredDisk.make({ pace: stuck.pace });
    const { lab, process: first, path } = found;
    using other = makeDisk(lab, 'b');
    other.mount(lab.at('discovery', 'sdc'));
    writeFileSync(join(path, 'file'), 'precious');
    const { volumeId } = await adopt(first, path);
    await first.stop();

    const record = readFileSync(lab.at('volumes', volumeId, 'volume.json'));
    writeFileSync(lab.at('volumes', volumeId, 'volume.json'), 'garbage');
    const second = await startDiscovering(lab, { pace: stuck.pace });
    const obstacle = containing(`record of volume ${volumeId}`);
    expect(await entriesOf(second)).toMatchObject([{ obstacle }, { obstacle }]);
    expect(await failureOf(adopt(second, path))).toMatchObject({ message: obstacle });
    writeFileSync(lab.at('volumes', volumeId, 'volume.json'), record);
    await second.stop();

    const third = await startDiscovering(lab, { pace: stuck.pace });
    await cutShort(remove(third, volumeId), stuck.stuck);
    await third.stop();
    const [entry = ''] = readdirSync(lab.at('trash'));
    writeFileSync(lab.at('trash', entry, 'volume.json'), 'garbage');
    const fourth = await startDiscovering(lab);
    const trash = fourth.pools.open()[0]?.trash;
    await expect.poll(() => trash?.entries()[0]?.failure?.message).toContain('mend the record');
    expect(await entriesOf(fourth)).toMatchObject([{ obstacle }, { obstacle }]);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('precious');
    writeFileSync(lab.at('trash', entry, 'volume.json'), record);
    await expect.poll(() => trash?.holds(volumeId), { timeout: 10_000 }).toBe(false);
    expect(readdirSync(path)).toEqual(['lost+found']);
  });
});
