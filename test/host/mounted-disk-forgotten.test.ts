import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { StorageError } from '../../src/model/errors.ts';
import type { AdoptedVolume, ForgottenDisk } from '../../src/model/volume-ledger.ts';
import { inventoryOf } from '../../src/volumes/inventory/take-inventory.ts';
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
  volumesIn,
} from '../support/discovering.ts';
import { dyingAt } from '../support/dying.ts';
import { failureOf } from '../support/failure-of.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor, type LabProcess } from '../support/volume-lab.ts';

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
    await using found = await DiscoveredDisk.make({ text: "a tenant's" });
    const { lab, process: first, disk, path } = found;
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
    await using found = await DiscoveredDisk.make();
    const { lab, process, disk, path } = found;
    using other = makeDisk(lab, 'b');
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
    await using found = await DiscoveredDisk.make({ text: 'kept' });
    const { lab, process, disk, path } = found;
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
    await using found = await DiscoveredDisk.make();
    const { lab, process, disk, path } = found;
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
    const stuck = stuckAfter(0);
    await using found = await DiscoveredDisk.make({ text: 'old', pace: stuck.pace });
    const { lab, process: first, disk, path } = found;
    const { volumeId } = await adopt(first, path);
    await cutShort(remove(first, volumeId), stuck.stuck);
    expect(await failureOf(forget(first, volumeId))).toMatchObject({
      reason: 'in-use',
      message: containing('being emptied'),
    });
    disk.unmount('--lazy');
    expect(await failureOf(forget(first, volumeId))).toMatchObject({ reason: 'busy' });
    await first.stop();

    const next = await startDiscovering(lab);
    await expect.poll(() => doomedOf(next)[0]?.failure?.message).toContain(`loam gc --forget ${volumeId}`);
    const inventory = inventoryOf(next.environment);
    expect(inventory.doomed()).toMatchObject([
      { id: volumeId, stuck: { on: 'unusable disk', mountPoint: path } },
    ]);
    const waiting = remove(next, volumeId).catch((error: unknown) => error);
    expect(await waiting).toMatchObject({ reason: 'pool-unavailable' });
    await forget(next, volumeId);
    lab.expectEmpty(next);
    expect(inventory.doomed()).toEqual([]);
    expect(inventory.forgotten()).toMatchObject([{ volumeId, type: 'ext4', mountPoint: path }]);
    await remove(next, volumeId);
    disk.mount(path);
    expect(await entriesOf(next)).toMatchObject([{ obstacle: containing('was forgotten') }]);
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('old');
  });

  it('are forgotten whole where they were being emptied for their next claim', async () => {
    const stuck = stuckAfter(0);
    await using found = await DiscoveredDisk.make({ text: 'old', pace: stuck.pace });
    const { lab, process: first, disk, path } = found;
    const { volumeId } = await adopt(first, path);
    await cutShort(first.service.recycle({ volumeId }, callFor()), stuck.stuck);
    await first.stop();
    disk.unmount('--lazy');
    const dying = dyingAt('forgotten');
    const second = await startDiscovering(lab, { reached: dying.reached });
    await expect.poll(() => doomedOf(second)[0]?.failure).toBeDefined();
    await cutShort(forget(second, volumeId), dying.died);
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
    const { reached, died } = dyingAt('forgotten');
    await using found = await DiscoveredDisk.make({ reached });
    const { lab, process: first, disk, path } = found;
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    await cutShort(forget(first, volumeId), died);
    const next = await startDiscovering(lab);
    expect(next.service.held()).toEqual([]);
    expect(await forget(next, volumeId)).toMatchObject({ volumeId });
    disk.mount(path);
    expect(await entriesOf(next)).toMatchObject([{ obstacle: containing('was forgotten') }]);
  });

  it('are forgotten no more where the process dies before it has cleared the note of what was adopted', async () => {
    await using found = await DiscoveredDisk.make();
    const { lab, process: first, disk, path } = found;
    const { volumeId } = await adopt(first, path);
    disk.unmount();
    await forget(first, volumeId);
    disk.mount(path);
    await first.stop();
    const { reached, died } = dyingAt('commit');
    const second = await startDiscovering(lab, { reached });
    await cutShort(adoptByHand(second, path), died);
    expect(existsSync(lab.at('.forgotten'))).toBe(true);
    const last = await startDiscovering(lab);
    expect(existsSync(lab.at('.forgotten'))).toBe(false);
    const again = await adoptByHand(last, path);
    await remove(last, again.volumeId);
    expect((await entriesOf(last))[0]).not.toHaveProperty('obstacle');
  });

  it('take no other disk with them where their note cannot be read', async () => {
    await using found = await DiscoveredDisk.make();
    const { lab, process: first, disk, path } = found;
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
