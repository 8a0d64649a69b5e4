import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import { podInfoKeys, type PublishRequest } from '../../../src/model/node-driver.ts';
import { poolUuidKey } from '../../../src/model/volume.ts';
import type { Publication } from '../../../src/volumes/publications.ts';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import {
  inlineId,
  inlineRequest,
  inlineTarget,
  podFolder as podFolderBelow,
  podUid,
} from '../../support/inline-request.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  dead,
  GiB,
  mountCapability,
  until,
  VolumeLab,
  type LabProcess,
  type StartOptions,
} from '../../support/volume-lab.ts';

const id = inlineId;
const uid = podUid;
const inlineMaxBytes = 2n * GiB;

let lab: VolumeLab;
let process: LabProcess;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
  // kubelet always has Loam's own pod
  await mkdir(lab.kubeletPath('pods', 'loam'), { recursive: true });
  process = await start();
});
afterEach(() => lab.clear());

const start = (options: StartOptions = {}) => lab.start({ inlineMaxBytes, ...options });
const podFolder = (): string => podFolderBelow(lab.kubeletPath());
const target = (pod = uid): string => inlineTarget(lab.kubeletPath(), pod);
const stagingPath = (volumeId = id): string => join(lab.stagingFolder, volumeId);

const request = (
  attributes: Readonly<Record<string, string>> = { size: '1Gi' },
  changes: Partial<PublishRequest> = {},
): PublishRequest => inlineRequest(lab.kubeletPath(), attributes, changes);
async function publish(wanted = request()): Promise<void> {
  await mkdir(dirname(wanted.targetPath), { recursive: true });
  await process.node.publish(wanted, callFor());
}
const unpublish = (targetPath = target(), volumeId = id): Promise<void> =>
  process.node.unpublish({ volumeId, targetPath }, callFor());
const promised = (): bigint | undefined => process.pools.open()[0]?.promisedBytes();

/** What an earlier process of this boot remembered of the pod's target. */
const published = (): Publication => ({
  kind: 'publish',
  volumeId: id,
  poolUuid: 'x',
  path: target(),
  readonly: false,
  accessMode: 'SINGLE_NODE_MULTI_WRITER',
  accessType: 'mount',
  fsType: '',
  mountFlags: [],
});

/** Nothing on disk, nothing counted, nothing mounted. */
async function expectNothing(): Promise<void> {
  expect(await lab.namesIn('volumes')).toEqual([]);
  await until(async () => (await lab.namesIn('trash')).length === 0);
  await until(() => promised() === 0n);
  expect(await lab.mounts.read()).toHaveLength(1);
  expect(existsSync(stagingPath())).toBe(false);
}

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
    process = await start({ inlineMaxBytes: 0n });
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
    process = await start();
    await unpublish();
    await expectNothing();
  });

  test('ends without waiting for its bytes, whose space is counted until they are gone', async () => {
    await process.stop();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    process = await start({ pace: { files: () => held, bytes: () => held } });
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
    process = await start({ inlineMaxBytes: 0n });
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
    process = await start({ pools });
    await publish();
    const holder = existsSync(join(lab.poolPath('one'), 'volumes', id)) ? 'one' : 'two';
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await process.stop();
    await rename(lab.poolPath(holder), `${lab.poolPath(holder)}-away`);
    await mkdir(lab.poolPath(holder));
    process = await start({ pools });
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
    process = await start({ pools });
    expect(await lab.namesIn('volumes', holder)).toContain(id);
    await process.node.sweepInline(callFor());
    expect(await lab.namesIn('volumes', holder)).not.toContain(id);
  });
});

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
    process = await start();
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
      process = await start();
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
        process = await start();
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

describe('a process killed with an inline volume', () => {
  async function dieAt(step: Step, act: () => Promise<void>): Promise<void> {
    await process.stop();
    let tell = (): void => {};
    const died = new Promise<void>((resolve) => {
      tell = resolve;
    });
    process = await start({
      reached: async (reached) => {
        if (reached !== step) return;
        tell();
        await dead();
      },
    });
    void act();
    await died;
    process = await start();
  }

  const making: readonly Step[] = ['reserved', 'intent', 'data', 'commit', 'staged', 'published'];
  test.each(making)('at %s goes on with a repeat', async (step) => {
    await dieAt(step, publish);
    await publish();
    expect(lab.mounts.has(target())).toBe(true);
    await unpublish();
    await expectNothing();
  });

  test.each(making)('at %s has nothing left once it is unpublished instead', async (step) => {
    await dieAt(step, publish);
    await unpublish();
    await expectNothing();
  });

  test.each(making)('at %s has nothing left once its pod is gone', async (step) => {
    await dieAt(step, publish);
    lab.mounts.remove(target());
    await rm(podFolder(), { recursive: true });
    await process.node.sweepInline(callFor());
    await expectNothing();
  });

  test.each(['unpublished', 'unstaged', 'released', 'taken'] as const)(
    'at %s ends it with a repeat',
    async (step) => {
      await publish();
      await dieAt(step, unpublish);
      await unpublish();
      await expectNothing();
    },
  );
});

test('any sequence of publishes, ends, deaths, reboots and sweeps keeps a live pod’s data, and ends with nothing', async () => {
  const steps: readonly Step[] = [
    ...(['reserved', 'intent', 'data', 'commit', 'staged', 'published'] as const),
    ...(['unpublished', 'unstaged', 'released', 'taken'] as const),
  ];
  const action = fc.record({
    verb: fc.constantFrom('publish' as const, 'unpublish' as const, 'reboot' as const, 'sweep' as const),
    dieAt: fc.option(fc.constantFrom(...steps), { freq: 2, nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 10 }), async (actions) => {
      let deathStep: Step | undefined;
      let tell = (): void => {};
      const again = async (): Promise<void> => {
        process = await start({
          reached: async (step) => {
            if (step !== deathStep) return;
            tell();
            await dead();
          },
        });
      };
      await again();
      const image = join(lab.poolPath(), 'volumes', id, 'image');
      let isWritten = false;
      for (const { verb, dieAt } of actions) {
        const { promise: died, resolve } = Promise.withResolvers<'died'>();
        tell = () => resolve('died');
        deathStep = dieAt;
        const acts = {
          publish,
          unpublish,
          sweep: () => process.node.sweepInline(callFor()),
          reboot: async () => {},
        };
        const outcome = await Promise.race([died, acts[verb]().then(() => 'done' as const)]);
        deathStep = undefined;
        if (verb === 'unpublish') isWritten = false;
        if (verb === 'reboot') for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
        if (outcome === 'died' || verb === 'reboot') await again();
        if (verb === 'publish' && outcome === 'done' && !isWritten) {
          await writeFile(image, 'the pod’s');
          isWritten = true;
        }
        if (isWritten) expect(await readFile(image, 'utf8')).toBe('the pod’s');
      }
      await unpublish();
      await expectNothing();
      await process.stop();
    }),
    { numRuns: 30 },
  );
}, 60_000);

test('the node says how many volumes it may hold, 0 being no limit', async () => {
  expect(process.node.nodeInfo()).toMatchObject({ maxVolumesPerNode: 0 });
  expect((await start({ maxVolumesPerNode: 12 })).node.nodeInfo()).toMatchObject({ maxVolumesPerNode: 12 });
});
