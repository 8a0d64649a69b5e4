import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import type { PublishRequest } from '../../../src/model/node-driver.ts';
import { poolUuidKey, type VolumeCapability } from '../../../src/model/volume.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  mountCapability,
  VolumeLab,
  type LabProcess,
} from '../../support/volume-lab.ts';

let lab: VolumeLab;
let process: LabProcess;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
  process = await lab.start();
  await process.service.createVolume(createRequest('a'), callFor());
});
afterEach(() => lab.clear());

const singleWriter: VolumeCapability = { ...mountCapability, accessMode: 'SINGLE_NODE_SINGLE_WRITER' };

function request(changes: Partial<PublishRequest> = {}): PublishRequest {
  return {
    volumeId: 'a',
    stagingTargetPath: lab.kubeletPath('stage'),
    targetPath: lab.kubeletPath('pod-1'),
    capability: mountCapability,
    volumeContext: {},
    readonly: false,
    ...changes,
  };
}
const stage = (changes: Partial<PublishRequest> = {}) => process.node.stage(request(changes), callFor());
const publish = (changes: Partial<PublishRequest> = {}) => process.node.publish(request(changes), callFor());
const unpublish = (targetPath = lab.kubeletPath('pod-1'), volumeId = 'a') =>
  process.node.unpublish({ volumeId, targetPath }, callFor());
const unstage = (stagingTargetPath = lab.kubeletPath('stage'), volumeId = 'a') =>
  process.node.unstage({ volumeId, stagingTargetPath }, callFor());
const reason = (name: string) => ({ reason: name });

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
    await process.stop();
    process = await lab.start();
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

describe('a repeat with other arguments', () => {
  test.each([
    ['read-only', { readonly: true }, /writable, asked is read-only/],
    [
      'flags',
      {
        capability: {
          ...mountCapability,
          access: { kind: 'mount' as const, fsType: '', mountFlags: ['noatime'] },
        },
      },
      /mount flags none, asked is noatime/,
    ],
    ['access mode', { capability: singleWriter }, /access mode/],
  ])('(%s) at the same target is refused, also after a restart', async (_what, changes, message) => {
    await stage();
    await publish();
    await expect(publish(changes)).rejects.toMatchObject({
      reason: 'published-differently',
      message: expect.stringMatching(message) as unknown,
    });
    await process.stop();
    process = await lab.start();
    await expect(publish(changes)).rejects.toMatchObject(reason('published-differently'));
    await publish();
  });

  test('is fine once nothing is mounted there, whatever is remembered', async () => {
    await stage();
    await publish();
    lab.mounts.remove(lab.kubeletPath('pod-1'));
    await publish({ readonly: true });
  });
});

describe('a single writer', () => {
  test('keeps every second target away until the first is gone', async () => {
    await stage({ capability: singleWriter });
    await publish({ capability: singleWriter });
    const second = { capability: singleWriter, targetPath: lab.kubeletPath('pod-2') };
    await expect(publish(second)).rejects.toMatchObject({
      reason: 'in-use',
      message: expect.stringContaining('pod-1') as unknown,
    });
    await expect(publish({ targetPath: lab.kubeletPath('pod-2') })).rejects.toMatchObject(reason('in-use'));
    await publish({ capability: singleWriter });
    await unpublish();
    await publish(second);
  });

  test('is kept out by other pods, and other modes share', async () => {
    await stage();
    await publish();
    await publish({
      targetPath: lab.kubeletPath('pod-2'),
      capability: { ...mountCapability, accessMode: 'SINGLE_NODE_WRITER' },
    });
    await expect(
      publish({ targetPath: lab.kubeletPath('pod-3'), capability: singleWriter }),
    ).rejects.toMatchObject(reason('in-use'));
  });
});

describe('a failure on the way', () => {
  test('while publishing leaves no mount, no target and no memory', async () => {
    await stage();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'remount failed');
    };
    await expect(publish()).rejects.toMatchObject(reason('host-failure'));
    expect(lab.mounts.has(lab.kubeletPath('pod-1'))).toBe(false);
    expect(existsSync(lab.kubeletPath('pod-1'))).toBe(false);
    lab.directory.duringPublish = async () => {};
    await publish({ readonly: true });
  });

  test('while repeating a publish leaves the running pod its mount', async () => {
    await stage();
    await publish();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'looking failed');
    };
    await expect(publish()).rejects.toMatchObject(reason('host-failure'));
    expect(lab.mounts.has(lab.kubeletPath('pod-1'))).toBe(true);
  });

  test('that cannot be rolled back is no final answer', async () => {
    await stage();
    lab.directory.duringPublish = async () => {
      throw new StorageError('host-failure', 'remount failed');
    };
    lab.directory.targets.ensureUnmounted = async () => {
      throw new StorageError('in-use', 'target is busy');
    };
    await expect(publish()).rejects.toMatchObject({
      code: 'ABORTED',
      message: expect.stringMatching(/remount failed.*busy/) as unknown,
    });
  });

  test('while staging leaves nothing staged', async () => {
    lab.directory.duringStage = async () => {
      throw new StorageError('host-failure', 'mount failed');
    };
    await expect(stage()).rejects.toMatchObject(reason('host-failure'));
    await expect(publish()).rejects.toMatchObject(reason('not-staged'));
    await process.service.deleteVolume({ volumeId: 'a' }, callFor());
  });
});

describe('what kubelet asks for things long gone', () => {
  test('after a reboot is success', async () => {
    await unpublish();
    await unstage();
    await unpublish(lab.kubeletPath('x', 'y', 'z'), 'nobody');
    await unstage(lab.kubeletPath('x', 'y', 'z'), 'nobody');
    await unpublish(lab.kubeletPath('pod-9'), 'Not An Id');
  });

  test('while its pool is away takes mounts, devices and targets away all the same, without a word to the pool', async () => {
    await stage();
    await publish();
    await rename(lab.poolPath(), `${lab.poolPath()}.away`);
    await mkdir(lab.poolPath());
    expect(await process.pools.usable()).toEqual([]);
    await unpublish();
    await unstage();
    await unstage();
    expect(lab.mounts.at(join(lab.poolPath(), 'volumes/a/data'))).toEqual([]);
    expect(lab.directory.detached).toEqual(['a']);
    expect(await readdir(lab.poolPath())).toEqual([]);
    await rm(lab.poolPath(), { recursive: true });
    await rename(`${lab.poolPath()}.away`, lab.poolPath());
  });

  test('is done though the record was damaged meanwhile', async () => {
    await stage();
    await publish();
    await process.stop();
    await writeFile(join(lab.poolPath(), 'volumes/a/volume.json'), '{"schema":1,');
    process = await lab.start();
    await expect(publish()).rejects.toMatchObject(reason('data-loss'));
    await unpublish();
    await unstage();
    expect(lab.mounts.at(join(lab.poolPath(), 'volumes/a/data'))).toEqual([]);
    expect(process.environment.publications.isStaged('a')).toBe(false);
    expect(existsSync(join(lab.poolPath(), 'volumes/a/data'))).toBe(true);
  });

  test('after a delete takes our mount away and the target with it', async () => {
    await mkdir(lab.kubeletPath('pod-9'));
    lab.mounts.add(lab.kubeletPath('pod-9'), '/p/trash/gone.170000/data');
    await unpublish(lab.kubeletPath('pod-9'), 'gone');
    expect(lab.mounts.has(lab.kubeletPath('pod-9'))).toBe(false);
    expect(existsSync(lab.kubeletPath('pod-9'))).toBe(false);
  });

  test('never takes away what is not ours', async () => {
    lab.mounts.add(lab.kubeletPath('foreign'), '/home');
    await mkdir(lab.kubeletPath('foreign'));
    await writeFile(lab.kubeletPath('file'), 'precious');
    for (const id of ['a', 'nobody', 'Not An Id']) {
      await expect(unpublish(lab.kubeletPath('foreign'), id)).rejects.toMatchObject(reason('bad-target'));
      await expect(unpublish(lab.kubeletPath('file'), id)).rejects.toMatchObject(reason('bad-target'));
    }
    await expect(unstage(lab.kubeletPath('foreign'))).rejects.toMatchObject(reason('bad-target'));
    expect(lab.mounts.has(lab.kubeletPath('foreign'))).toBe(true);
    expect(existsSync(lab.kubeletPath('file'))).toBe(true);
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
    await process.stop();
    process = await lab.start();
    expect(process.environment.publications.isStaged('b')).toBe(true);
    await publish({ volumeId: 'b', capability: blockCapability });
    await expect(process.service.deleteVolume({ volumeId: 'b' }, callFor())).rejects.toMatchObject(
      reason('in-use'),
    );
  });
});
