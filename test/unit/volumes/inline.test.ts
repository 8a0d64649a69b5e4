import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { podInfoKeys } from '../../../src/model/node-driver.ts';
import { poolUuidKey } from '../../../src/model/volume.ts';
import {
  expectNothing,
  id,
  lab,
  podFolder,
  process,
  promised,
  publish,
  published,
  request,
  restart,
  stagingPath,
  start,
  target,
  uid,
  unpublish,
  useInlineLab,
} from '../../support/inline-lab.ts';
import { blockCapability, callFor, mountCapability, GiB } from '../../support/volume-lab.ts';

useInlineLab();

describe('a volume that a pod describes', () => {
  test('is made, shown to the pod, measured, and gone with it, each call repeated', async () => {
    for (let round = 0; round < 2; round += 1) await publish();
    expect(lab.mounts.has(target())).toBe(true);
    expect(lab.mounts.has(stagingPath())).toBe(true);
    expect(promised()).toBe(GiB);
    const { usage } = await process.node.stats({ volumeId: id, volumePath: target() });
    expect(usage[0]).toMatchObject({ unit: 'BYTES', total: GiB });
    for (let round = 0; round < 2; round += 1) await unpublish();
    expect(existsSync(target())).toBe(false);
    await expectNothing();
  });

  test('is a sized image that says whose it is, and keeps no secret of the pod', async () => {
    await publish(request({ size: '1500M', mode: '2770', uid: '7', gid: '8' }));
    const text = await lab.readRecord(id);
    expect(JSON.parse(text)).toMatchObject({
      inline: { namespace: 'team', name: 'web-0', uid, targetPath: target() },
      acknowledged: true,
      parameters: { backend: 'loopback', mode: '2770', uid: '7', gid: '8' },
      spec: { backend: 'loopback', limit: 'enforced', provisioning: 'thin', mode: '2770', uid: 7, gid: 8 },
    });
    expect(BigInt((JSON.parse(text) as { spec: { sizeBytes: string } }).spec.sizeBytes)).toBe(1_500_000_256n);
    expect(text).not.toContain('secret');
  });

  test('takes the file system of the pod, and the read-only flag', async () => {
    const access = { kind: 'mount', fsType: 'xfs', mountFlags: [] } as const;
    await publish(request({ size: '1Gi' }, { readonly: true, capability: { ...mountCapability, access } }));
    expect(await lab.readRecord(id)).toContain('"fsType": "xfs"');
    await expect(publish()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await unpublish();
    await expectNothing();
  });

  test('is still there after a reboot, for the same pod, also where such volumes were switched off', async () => {
    await publish();
    const image = join(lab.poolPath(), 'volumes', id, 'image');
    await writeFile(image, 'what the pod wrote');
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await process.stop();
    await restart({ inlineMaxBytes: 0n });
    await publish();
    expect(lab.mounts.has(target())).toBe(true);
    expect(await readFile(image, 'utf8')).toBe('what the pod wrote');
    await unpublish();
    await expectNothing();
  });

  test('ends after a reboot without having been published again', async () => {
    await publish();
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await process.stop();
    await restart();
    await unpublish();
    await expectNothing();
  });

  test('ends without waiting for its bytes, whose space is counted until they are gone', async () => {
    await process.stop();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await restart({ pace: { files: () => held, bytes: () => held } });
    await publish();
    await unpublish();
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(await lab.namesIn('trash')).toHaveLength(1);
    expect(promised()).toBe(GiB);
    release();
    await expectNothing();
  });

  test('does not hold its pod while somebody sits in it elsewhere', async () => {
    await publish();
    const users = lab.loopback.users.bind(lab.loopback);
    lab.loopback.users = async () => ['/dev/loop1 is still open in some process'];
    await unpublish();
    expect(await lab.namesIn('volumes')).toEqual([id]);
    lab.loopback.users = users;
    await rm(podFolder(), { recursive: true });
    await process.node.sweepInline(callFor());
    await expectNothing();
  });
});

describe('an inline volume that cannot be had', () => {
  test('says how to switch it on, and what needs no switch', async () => {
    await process.stop();
    await restart({ inlineMaxBytes: 0n });
    await expect(publish()).rejects.toThrow(
      /switched off.*generic ephemeral volume.*which needs no switch.*--inline-max-size/,
    );
    await expectNothing();
  });

  test.each([
    [{}, /size is missing/],
    [{ size: 'big' }, /attribute size: "big" is not a size/],
    [{ size: '0' }, /size is 0/],
    [{ size: '2049Mi' }, /may have 2Gi here, size asks for 2049Mi.*--inline-max-size/],
    [{ size: '1Gi', sise: '1' }, /unknown attribute "sise".*known are size, mode, uid, gid/],
    [{ size: '1Gi', mode: 'rwx' }, /mode is "rwx"/],
    [{ size: '1Gi', [poolUuidKey]: 'x' }, /unknown attribute/],
    [{ size: '1Gi', 'csi.storage.k8s.io/fstype': 'xfs' }, /csi\.fsType/],
    ...['backend', 'pool', 'provisioning', 'limit', 'onDelete', 'scrub', 'sharing'].map(
      (key) =>
        [{ size: '1Gi', [key]: 'x' }, new RegExp(`${key} is an administrator's.*StorageClass`)] as const,
    ),
  ] as const)('is refused by name: %j', async (attributes, message) => {
    await expect(publish(request(attributes))).rejects.toThrow(message);
    await expect(publish(request(attributes))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expectNothing();
  });

  test('is refused as a block device, and without the pod', async () => {
    await expect(publish(request({ size: '1Gi' }, { capability: blockCapability }))).rejects.toThrow(
      /no block device/,
    );
    const volumeContext = { [podInfoKeys.ephemeral]: 'true', size: '1Gi' };
    await expect(publish(request({}, { volumeContext }))).rejects.toThrow(/podInfoOnMount/);
    for (const volumeId of ['', '..', 'A', 'h-5']) {
      await expect(publish(request({ size: '1Gi' }, { volumeId }))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
    await expectNothing();
  });

  test.each(['duringCreate', 'duringStage', 'duringPublish'] as const)(
    'leaves nothing where it fails %s',
    async (verb) => {
      const { [verb]: before } = lab.loopback;
      const fail = async (): Promise<void> => {
        throw new StorageError('out-of-space', 'full');
      };
      Object.assign(lab.loopback, { [verb]: fail });
      await expect(publish()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
      await expectNothing();
      Object.assign(lab.loopback, { [verb]: before });
      await publish();
    },
  );

  test('keeps the data where a repeat fails after the pod had it', async () => {
    await publish();
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    const { duringStage } = lab.loopback;
    lab.loopback.duringStage = async () => {
      throw new StorageError('host-failure', 'no');
    };
    await expect(publish()).rejects.toThrow('no');
    expect(await lab.namesIn('volumes')).toEqual([id]);
    lab.loopback.duringStage = duringStage;
    await publish();
  });

  test('is not made anew while the pool of its data is away', async () => {
    await mkdir(lab.poolPath('two'));
    await process.stop();
    const pools = [lab.poolConfig('one'), lab.poolConfig('two')];
    await restart({ pools });
    await publish();
    const holder = existsSync(join(lab.poolPath('one'), 'volumes', id)) ? 'one' : 'two';
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await process.stop();
    await rename(lab.poolPath(holder), `${lab.poolPath(holder)}-away`);
    await mkdir(lab.poolPath(holder));
    await restart({ pools });
    await expect(publish()).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'pool-unavailable' });
    // another pod's is made meanwhile
    const other = request({ size: '1Gi' }, { volumeId: 'csi-other', targetPath: target('other') });
    await publish({ ...other, volumeContext: { ...other.volumeContext, [podInfoKeys.uid]: 'other' } });
    // a mistaken PV's pod ends, which lets go of nothing
    lab.mounts.add(stagingPath(), '/', '/dev/loop9');
    lab.mounts.add(target(), '/', '/dev/loop9');
    await process.environment.publications.put(published());
    await unpublish(lab.kubeletPath('other'));
    expect(lab.mounts.has(stagingPath())).toBe(true);
    // and this one's pod can end; the volume goes when its pool is back
    await unpublish();
    expect(existsSync(stagingPath())).toBe(false);
    await rm(podFolder(), { recursive: true });
    await process.stop();
    await rm(lab.poolPath(holder), { recursive: true });
    await rename(`${lab.poolPath(holder)}-away`, lab.poolPath(holder));
    await restart({ pools });
    expect(await lab.namesIn('volumes', holder)).toContain(id);
    await process.node.sweepInline(callFor());
    expect(await lab.namesIn('volumes', holder)).not.toContain(id);
  });
});

test('the node says how many volumes it may hold, 0 being no limit', async () => {
  expect(process.node.nodeInfo()).toMatchObject({ maxVolumesPerNode: 0 });
  expect((await start({ maxVolumesPerNode: 12 })).node.nodeInfo()).toMatchObject({ maxVolumesPerNode: 12 });
});
