import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { poolUuidKey, type VolumeCapability } from '../../../src/model/volume.ts';
import { blockCapability, callFor, createRequest, mountCapability } from '../../support/volume-lab.ts';
import { lab, process, publish, reason, restart, stage, unpublish, unstage, useNodeLab } from './node-lab.ts';

useNodeLab();

describe('a volume on its way into a pod', () => {
  test('is closed for whoever comes new, while its end is decided on', async () => {
    const open = process.service.close('a');
    const another = process.service.close('a');
    await expect(stage()).rejects.toMatchObject({
      ...reason('busy'),
      message: expect.stringMatching(/claim is gone/) as string,
    });
    another();
    await expect(stage()).rejects.toMatchObject(reason('busy'));
    expect(process.service.wasUsed('a')).toBe(false);
    open();
    await stage();
    // who is in already stays in
    const late = process.service.close('a');
    await stage();
    await publish();
    late();
    await unpublish();
    await unstage();
  });

  test('is closed, and counts as used, also where it is published without a stage that is remembered', async () => {
    for (const backend of [lab.directory, lab.loopback])
      Object.assign(backend, { features: { ...backend.features, stagesNothing: true } });
    const open = process.service.close('a');
    await expect(publish()).rejects.toMatchObject(reason('busy'));
    expect(process.service.wasUsed('a')).toBe(false);
    open();
    await publish();
    expect(process.service.wasUsed('a')).toBe(true);
    await unpublish();
    await stage();
    const late = process.service.close('a');
    await publish();
    late();
    await unpublish();
    await unstage();
  });

  test('is staged, published, measured, unpublished and unstaged, each repeated', async () => {
    for (let round = 0; round < 2; round += 1) await stage();
    for (let round = 0; round < 2; round += 1) await publish();
    const { usage, condition } = await process.node.stats({
      volumeId: 'a',
      volumePath: lab.kubeletPath('pod-1'),
    });
    expect(usage[0]?.unit).toBe('BYTES');
    expect(condition.abnormal).toBe(false);
    await expect(process.service.deleteVolume({ volumeId: 'a' }, callFor())).rejects.toMatchObject(
      reason('in-use'),
    );
    for (let round = 0; round < 2; round += 1) await unpublish();
    expect(existsSync(lab.kubeletPath('pod-1'))).toBe(false);
    for (let round = 0; round < 2; round += 1) await unstage();
    expect(existsSync(lab.kubeletPath('stage'))).toBe(true);
    await process.service.deleteVolume({ volumeId: 'a' }, callFor());
  });

  test('is told as released when its last stage or target is gone, with nobody holding it', async () => {
    const told: string[] = [];
    process.service.onReleased((volumeId) => {
      expect(process.environment.locks.holds(volumeId)).toBe(false);
      told.push(volumeId);
    });
    await stage();
    await publish();
    await publish({ targetPath: lab.kubeletPath('pod-2') });
    await unpublish();
    await unpublish(lab.kubeletPath('pod-2'));
    expect(told).toEqual([]);
    await unstage();
    expect(told).toEqual(['a']);
    // a restart of the node's services may have them called in another order
    await stage();
    await publish();
    await unstage();
    expect(told).toEqual(['a']);
    await unpublish();
    expect(told).toEqual(['a', 'a']);
  });

  test('counts as having a PV once it is staged', async () => {
    expect(process.service.unacknowledged().length).toBe(1);
    expect(process.service.wasUsed('a')).toBe(false);
    await stage();
    expect(process.service.unacknowledged().length).toBe(0);
    expect(process.service.wasUsed('a')).toBe(true);
    await restart();
    expect(process.service.wasUsed('a')).toBe(true);
    expect(process.service.unacknowledged().length).toBe(0);
    expect(process.service.wasUsed('unknown')).toBe(true);
  });

  test('must be staged before it is published, there and by that volume', async () => {
    await process.service.createVolume(createRequest('b'), callFor());
    await expect(publish()).rejects.toMatchObject(reason('not-staged'));
    await stage();
    await expect(publish({ volumeId: 'b' })).rejects.toMatchObject(reason('not-staged'));
    await expect(publish({ stagingTargetPath: lab.kubeletPath('elsewhere') })).rejects.toMatchObject(
      reason('not-staged'),
    );
  });

  test('is not found, in another pool or for another use: refused', async () => {
    for (const verb of [stage, publish]) {
      await expect(verb({ volumeId: '' })).rejects.toMatchObject(reason('invalid-argument'));
      await expect(verb({ volumeId: '../a' })).rejects.toMatchObject(reason('volume-not-found'));
      await expect(verb({ volumeId: 'nobody' })).rejects.toMatchObject(reason('volume-not-found'));
      await expect(verb({ volumeContext: { [poolUuidKey]: 'x' } })).rejects.toMatchObject(
        reason('wrong-pool'),
      );
      await expect(verb({ capability: blockCapability })).rejects.toMatchObject(
        reason('unsupported-capability'),
      );
      const shared: VolumeCapability = { ...mountCapability, accessMode: 'MULTI_NODE_MULTI_WRITER' };
      await expect(verb({ capability: shared })).rejects.toMatchObject(reason('unsupported-capability'));
    }
  });

  test('goes to no path in a pool, by name or by link, and to none that is no path', async () => {
    const inside = join(lab.poolPath(), 'volumes', 'a');
    await symlink(lab.poolPath(), lab.kubeletPath('link'));
    for (const path of [inside, lab.poolPath(), lab.kubeletPath('link', 'volumes')]) {
      await expect(stage({ stagingTargetPath: path })).rejects.toMatchObject(reason('bad-target'));
      await stage();
      await expect(publish({ targetPath: path })).rejects.toMatchObject(reason('bad-target'));
      await expect(unpublish(path)).rejects.toMatchObject(reason('bad-target'));
      await unstage();
    }
    for (const path of ['', 'relative', '/a/../b', '/', '/nul\0']) {
      await expect(stage({ stagingTargetPath: path })).rejects.toMatchObject(reason('invalid-argument'));
      await expect(unpublish(path)).rejects.toMatchObject(reason('invalid-argument'));
    }
    expect((await readdir(inside)).sort()).toContain('data');
  });

  test('is read-only where the pod or the access mode says so', async () => {
    const seen: boolean[] = [];
    lab.directory.duringPublish = async (target) => void seen.push(target.readonly);
    await stage();
    await publish();
    await publish({ targetPath: lab.kubeletPath('pod-2'), readonly: true });
    const reader: VolumeCapability = { ...mountCapability, accessMode: 'SINGLE_NODE_READER_ONLY' };
    await publish({ targetPath: lab.kubeletPath('pod-3'), capability: reader });
    expect(seen).toEqual([false, true, true]);
  });

  test('is not used while its pool is gone', async () => {
    await rename(lab.poolPath(), `${lab.poolPath()}.away`);
    await mkdir(lab.poolPath());
    await expect(stage()).rejects.toMatchObject(reason('pool-unavailable'));
    await rm(lab.poolPath(), { recursive: true });
    await rename(`${lab.poolPath()}.away`, lab.poolPath());
  });
});

describe('stats', () => {
  test('know the volume and the path', async () => {
    await stage();
    await publish();
    const { node } = process;
    await expect(node.stats({ volumeId: '', volumePath: '/x' })).rejects.toMatchObject(
      reason('invalid-argument'),
    );
    await expect(node.stats({ volumeId: 'a', volumePath: '' })).rejects.toMatchObject(
      reason('invalid-argument'),
    );
    await expect(node.stats({ volumeId: 'b', volumePath: lab.kubeletPath('pod-1') })).rejects.toMatchObject(
      reason('volume-not-found'),
    );
    await expect(node.stats({ volumeId: 'a', volumePath: 'some/path' })).rejects.toMatchObject(
      reason('path-not-found'),
    );
    await expect(node.stats({ volumeId: 'a', volumePath: lab.kubeletPath('pod-2') })).rejects.toMatchObject(
      reason('path-not-found'),
    );
  });
});

describe('a restart of the driver', () => {
  test('keeps the loop device of a staged block volume, and lets a stage go on', async () => {
    await process.service.createVolume(
      createRequest('b', { parameters: { backend: 'loopback' }, capabilities: [blockCapability] }),
      callFor(),
    );
    await stage({ volumeId: 'b', capability: blockCapability });
    await restart();
    expect(process.environment.publications.isStaged('b')).toBe(true);
    await publish({ volumeId: 'b', capability: blockCapability });
    await expect(process.service.deleteVolume({ volumeId: 'b' }, callFor())).rejects.toMatchObject(
      reason('in-use'),
    );
  });
});
