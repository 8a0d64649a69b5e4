import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { podInfoKeys } from '../../../src/model/node-driver.ts';
import type { PublishRequest } from '../../../src/model/node-driver.ts';
import {
  expectNothing,
  id,
  lab,
  podFolder,
  process,
  publish,
  request,
  restart,
  stagingPath,
  target,
  uid,
  unpublish,
  useInlineLab,
} from '../../support/inline-lab.ts';
import { callFor, createRequest, mountCapability } from '../../support/volume-lab.ts';

useInlineLab();

describe('volumes of pods and volumes of PVs', () => {
  const persistent = (): PublishRequest => ({
    ...request({ size: '1Gi' }, { stagingTargetPath: lab.kubeletPath('stage') }),
    volumeContext: { [podInfoKeys.ephemeral]: 'false', [podInfoKeys.uid]: uid },
  });

  test('a PV cannot name an inline volume, in stage nor publish nor create nor delete', async () => {
    await publish();
    const inUse = { reason: 'in-use', code: 'FAILED_PRECONDITION' };
    for (const volumeContext of [{}, { [podInfoKeys.ephemeral]: 'true' }]) {
      await expect(process.node.stage({ ...persistent(), volumeContext }, callFor())).rejects.toMatchObject(
        inUse,
      );
    }
    const mistaken = { ...persistent(), targetPath: lab.kubeletPath('other') };
    await expect(process.node.publish(mistaken, callFor())).rejects.toMatchObject(inUse);
    await expect(process.node.publish(mistaken, callFor())).rejects.toThrow('team/web-0');
    const twin = createRequest(id, { parameters: { backend: 'loopback' } });
    await expect(process.service.createVolume(twin, callFor())).rejects.toMatchObject({
      reason: 'already-exists-different',
    });
    await expect(process.service.deleteVolume({ volumeId: id }, callFor())).rejects.toMatchObject(inUse);
    // kubelet cleans up after the mistaken PV's pod, which ends nothing, mounted or not
    await unpublish(lab.kubeletPath('other'));
    expect(lab.mounts.has(target())).toBe(true);
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await unpublish(lab.kubeletPath('other'));
    await process.node.unstage({ volumeId: id, stagingTargetPath: lab.kubeletPath('stage') }, callFor());
    await expect(process.service.deleteVolume({ volumeId: id }, callFor())).rejects.toMatchObject(inUse);
    expect(await lab.namesIn('volumes')).toEqual([id]);
  });

  test('a pod cannot have a PV’s volume as its inline one, and unpublishing that deletes nothing', async () => {
    await process.service.createVolume(createRequest(id, { parameters: { backend: 'loopback' } }), callFor());
    await expect(publish()).rejects.toMatchObject({ reason: 'already-exists-different' });
    await expect(publish()).rejects.toThrow(/PersistentVolume's.*give the pod a claim/);
    expect(await lab.namesIn('volumes')).toEqual([id]);
    await process.node.stage(persistent(), callFor());
    await process.node.publish(persistent(), callFor());
    for (let round = 0; round < 2; round += 1) await unpublish();
    expect(lab.mounts.has(lab.kubeletPath('stage'))).toBe(true);
    expect(await lab.namesIn('volumes')).toEqual([id]);
    await unpublish(target(), 'unknown');
  });

  test('another pod, and another target, do not get an inline volume', async () => {
    await publish();
    const { volumeContext } = request();
    await expect(
      publish(request({}, { volumeContext: { ...volumeContext, [podInfoKeys.uid]: 'other' } })),
    ).rejects.toMatchObject({ reason: 'already-exists-different' });
    await expect(publish(request({ size: '1Gi' }, { targetPath: target('other') }))).rejects.toMatchObject({
      reason: 'already-exists-different',
    });
    expect(lab.mounts.has(target())).toBe(true);
    expect(await lab.namesIn('volumes')).toEqual([id]);
  });

  test('the controller’s half and the sweep of intents know no inline volume', async () => {
    await publish();
    expect((await process.service.listVolumes({ maxEntries: 0, startingToken: '' })).entries).toEqual([]);
    await expect(process.service.getVolume(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const asked = { volumeId: id, capabilities: [mountCapability], volumeContext: {}, parameters: {} };
    await expect(process.service.validateVolumeCapabilities(asked)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(process.service.unacknowledged()).toEqual([]);
    await process.stop();
    await restart();
    expect(process.service.unacknowledged()).toEqual([]);
  });
});

describe('a pod that was forced away', () => {
  const sweep = () => process.node.sweepInline(callFor());
  const unmountAll = () => [target(), stagingPath()].forEach((path) => lab.mounts.remove(path));

  test('has its volume removed by the sweep, staged or not', async () => {
    for (const isStaged of [true, false]) {
      await publish();
      lab.mounts.remove(target());
      if (!isStaged) lab.mounts.remove(stagingPath());
      await process.stop();
      await restart();
      await rm(podFolder(), { recursive: true });
      await sweep();
      await expectNothing();
    }
  });

  test.each([
    ['its folder is there', async () => unmountAll()],
    ['it is mounted', async () => rm(podFolder(), { recursive: true })],
    [
      'it is mounted, which an older process knew',
      async () => {
        await rm(podFolder(), { recursive: true });
        await process.stop();
        await rm(join(lab.root, 'run'), { recursive: true });
        await restart();
      },
    ],
    [
      'kubelet has no pod at all',
      async () => {
        unmountAll();
        await rm(lab.kubeletPath('pods'), { recursive: true });
        await mkdir(lab.kubeletPath('pods'));
      },
    ],
    [
      'kubelet’s folder is away',
      async () => {
        unmountAll();
        await rm(lab.kubeletPath('pods'), { recursive: true });
      },
    ],
  ] as const)('keeps its volume where %s', async (_, arrange) => {
    await publish();
    await arrange();
    const mounts = await lab.mounts.read();
    await sweep();
    expect(await lab.namesIn('volumes')).toEqual([id]);
    expect(await lab.mounts.read()).toEqual(mounts);
  });

  test('keeps its volume where the target is not named as kubelet names them', async () => {
    await publish(request({ size: '1Gi' }, { targetPath: lab.kubeletPath('pods', uid, 'mount') }));
    lab.mounts.remove(lab.kubeletPath('pods', uid, 'mount'));
    await rm(podFolder(), { recursive: true });
    await sweep();
    expect(await lab.namesIn('volumes')).toEqual([id]);
  });

  test('is told from a PV’s volume, which no sweep touches', async () => {
    await process.service.createVolume(createRequest('pvc-1'), callFor());
    await sweep();
    expect(await lab.namesIn('volumes')).toEqual(['pvc-1']);
  });
});
