import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { StorageError } from '../../src/model/errors.ts';
import type { AdoptedVolume, ForgottenDisk } from '../../src/model/volume-ledger.ts';
import { DiskLab } from '../support/disk-lab.ts';
import {
  adopt,
  containing,
  dyingAfter,
  entriesOf,
  makeDisk,
  remove,
  startDiscovering,
  stuckAfter,
  volumesIn,
} from '../support/discovering.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor, until, type LabProcess } from '../support/volume-lab.ts';

const why = whyNoScratchPool('ext4');

const nobody = (): Promise<void> => Promise.resolve();

function forget({ service }: LabProcess, volumeId: string, look = nobody): Promise<ForgottenDisk> {
  return service.forgetDisk(volumeId, look, callFor());
}

function adoptByHand({ service }: LabProcess, path: string): Promise<AdoptedVolume> {
  return service.adoptPath(path, { byHand: true }, callFor());
}

function doomedOf({ pools }: LabProcess) {
  return pools.open()[0]?.trash.entries() ?? [];
}

describe.skipIf(why !== '')(`volumes whose disk is gone for good${why}`, () => {
  it('are forgotten, and their disk is offered to nobody when it turns up, wherever, after a restart too', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const first = await startDiscovering(lab);
    const path = lab.at('discovery', 'sdb');
    disk.mount(path);
    writeFileSync(join(path, 'file'), "a tenant's");
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    expect(await failureOf(remove(first, volumeId))).toMatchObject({
      message: containing(`loam gc --forget ${volumeId}`),
    });
    expect((await first.service.getVolume(volumeId)).condition).toMatchObject({
      abnormal: true,
      message: containing(`loam gc --forget ${volumeId}`),
    });
    expect(await forget(first, volumeId)).toMatchObject({ volumeId, type: 'ext4', entry: 'sdb' });
    expect(first.service.held()).toEqual([]);
    lab.expectEmpty(first);
    expect(await forget(first, volumeId)).toMatchObject({ volumeId });
    for (const restarted of [false, true]) {
      if (restarted) await first.stop();
      const process = restarted ? await startDiscovering(lab) : first;
      expect(await entriesOf(process)).toMatchObject([{ path, obstacle: containing('was forgotten') }]);
      expect(await failureOf(adopt(process, path))).toMatchObject({ message: containing('was forgotten') });
      for (const name of ['sdb', 'sdc']) {
        const at = lab.at('discovery', name);
        disk.mount(at);
        const entry = (await entriesOf(process)).find((each) => each.path === at);
        expect(entry).toMatchObject({ obstacle: containing(`data of volume ${volumeId}`) });
        expect(await failureOf(adopt(process, at))).toMatchObject({
          reason: 'invalid-argument',
          message: containing(`loam adopt ${at}`),
        });
        expect(readFileSync(join(at, 'file'), 'utf8')).toBe("a tenant's");
        disk.unmount();
        if (name === 'sdc') rmdirSync(at);
      }
      expect(await forget(process, volumeId)).toMatchObject({ volumeId });
    }
  });

  it('make room for another disk at their mount point', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    using other = makeDisk(lab, 'b');
    const process = await startDiscovering(lab);
    const path = lab.at('discovery', 'sdb');
    disk.mount(path);
    const { volumeId } = await adopt(process, path);
    disk.unmount();
    other.mount(path);
    expect((await entriesOf(process))[0]).toMatchObject({
      obstacle: containing('each at a place of its own'),
    });
    await forget(process, volumeId);
    expect((await entriesOf(process))[0]).not.toHaveProperty('obstacle');
    expect((await adopt(process, path)).volumeId).not.toBe(volumeId);
  });

  it('are volumes again, with what is on the disk, when they are adopted by hand', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const process = await startDiscovering(lab);
    const path = lab.at('discovery', 'sdb');
    disk.mount(path);
    writeFileSync(join(path, 'file'), 'kept');
    const { volumeId } = await adopt(process, path);
    disk.unmount();
    await forget(process, volumeId);
    disk.mount(path);
    const again = await adoptByHand(process, path);
    expect(again.volumeId).not.toBe(volumeId);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('kept');
    expect(existsSync(lab.at('.forgotten'))).toBe(false);
    await remove(process, again.volumeId);
    expect((await entriesOf(process))[0]).not.toHaveProperty('obstacle');
  });

  it('are kept while the disk is there, while anything stands for them, and where they are no disks', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const process = await startDiscovering(lab);
    const path = lab.at('discovery', 'sdb');
    disk.mount(path);
    const { volumeId } = await adopt(process, path);
    expect(await failureOf(forget(process, volumeId))).toMatchObject({
      reason: 'in-use',
      message: containing(`loam gc --remove ${volumeId}`),
    });
    mkdirSync(lab.at('discovery', 'folder'));
    const folder = await adopt(process, lab.at('discovery', 'folder'));
    expect(await failureOf(forget(process, folder.volumeId))).toMatchObject({ reason: 'invalid-argument' });
    expect(await failureOf(forget(process, 'nobody'))).toMatchObject({ reason: 'volume-not-found' });
    disk.unmount();
    const asked: string[] = [];
    const refusal = new StorageError('in-use', 'a PV stands for it');
    const look = (poolUuid?: string): Promise<void> => {
      asked.push(poolUuid ?? '');
      return Promise.reject(refusal);
    };
    expect(await failureOf(forget(process, volumeId, look))).toBe(refusal);
    expect(asked).toEqual([process.pools.open()[0]?.uuid]);
    expect(volumesIn(lab).toSorted()).toEqual([folder.volumeId, volumeId].toSorted());
    disk.mount(path);
    await remove(process, volumeId);
  });

  it('are dropped from the trash where they wait for their disk, and only then', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const path = lab.at('discovery', 'sdb');
    const stuck = stuckAfter(0);
    const first = await startDiscovering(lab, { pace: stuck.pace });
    disk.mount(path);
    writeFileSync(join(path, 'file'), 'old');
    const { volumeId } = await adopt(first, path);
    void remove(first, volumeId).catch(() => {});
    await until(stuck.isStuck);
    expect(await failureOf(forget(first, volumeId))).toMatchObject({
      reason: 'in-use',
      message: containing('being emptied'),
    });
    disk.unmount('--lazy');
    expect(await failureOf(forget(first, volumeId))).toMatchObject({ reason: 'busy' });
    await first.stop();

    const next = await startDiscovering(lab);
    await expect.poll(() => doomedOf(next)[0]?.failure?.message).toContain(`loam gc --forget ${volumeId}`);
    const waiting = remove(next, volumeId).catch((error: unknown) => error);
    expect(await waiting).toMatchObject({ reason: 'pool-unavailable' });
    await forget(next, volumeId);
    lab.expectEmpty(next);
    await remove(next, volumeId);
    disk.mount(path);
    expect(await entriesOf(next)).toMatchObject([{ obstacle: containing('was forgotten') }]);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('old');
  });

  it('are forgotten whole where they were being emptied for their next claim', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const path = lab.at('discovery', 'sdb');
    const stuck = stuckAfter(0);
    const first = await startDiscovering(lab, { pace: stuck.pace });
    disk.mount(path);
    writeFileSync(join(path, 'file'), 'old');
    const { volumeId } = await adopt(first, path);
    void first.service.recycle({ volumeId }, callFor()).catch(() => {});
    await until(stuck.isStuck);
    await first.stop();
    disk.unmount('--lazy');
    const dying = dyingAfter('forgotten');
    const second = await startDiscovering(lab, { reached: dying.reached });
    await expect.poll(() => doomedOf(second)[0]?.failure).toBeDefined();
    void forget(second, volumeId).catch(() => {});
    await until(dying.isDead);
    const last = await startDiscovering(lab);
    expect(last.service.held()).toEqual([]);
    await expect.poll(() => doomedOf(last)[0]?.failure).toBeDefined();
    await forget(last, volumeId);
    lab.expectEmpty(last);
    disk.mount(path);
    expect(await entriesOf(last)).toMatchObject([{ obstacle: containing('was forgotten') }]);
    await adoptByHand(last, path);
    expect(existsSync(lab.at('.forgotten'))).toBe(false);
  });

  it('stay forgotten where the process dies right after', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const path = lab.at('discovery', 'sdb');
    const { reached, isDead } = dyingAfter('forgotten');
    const first = await startDiscovering(lab, { reached });
    disk.mount(path);
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    void forget(first, volumeId).catch(() => {});
    await until(isDead);
    const next = await startDiscovering(lab);
    expect(next.service.held()).toEqual([]);
    expect(await forget(next, volumeId)).toMatchObject({ volumeId });
    disk.mount(path);
    expect(await entriesOf(next)).toMatchObject([{ obstacle: containing('was forgotten') }]);
  });

  it('are forgotten no more where the process dies before it has cleared the note of what was adopted', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const path = lab.at('discovery', 'sdb');
    const first = await startDiscovering(lab);
    disk.mount(path);
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    await forget(first, volumeId);
    disk.mount(path);
    await first.stop();
    const { reached, isDead } = dyingAfter('commit');
    const second = await startDiscovering(lab, { reached });
    void adoptByHand(second, path).catch(() => {});
    await until(isDead);
    expect(existsSync(lab.at('.forgotten'))).toBe(true);
    const last = await startDiscovering(lab);
    expect(existsSync(lab.at('.forgotten'))).toBe(false);
    const again = await adoptByHand(last, path);
    await remove(last, again.volumeId);
    expect((await entriesOf(last))[0]).not.toHaveProperty('obstacle');
  });

  it('take no other disk with them where their note cannot be read', async () => {
    await using lab = await DiskLab.make('plain');
    using disk = makeDisk(lab, 'a');
    const path = lab.at('discovery', 'sdb');
    const first = await startDiscovering(lab);
    disk.mount(path);
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    await forget(first, volumeId);
    await first.stop();
    const [note = ''] = readdirSync(lab.at('.forgotten'));
    writeFileSync(lab.at('.forgotten', note, 'volume.json'), 'garbage');
    const next = await startDiscovering(lab);
    disk.mount(path);
    const obstacle = containing(`.forgotten/${note} cannot be read`);
    expect(await entriesOf(next)).toMatchObject([{ obstacle }]);
    expect(await failureOf(adoptByHand(next, path))).toMatchObject({ message: obstacle });
    expect(existsSync(lab.at('.forgotten', note))).toBe(true);
  });
});
