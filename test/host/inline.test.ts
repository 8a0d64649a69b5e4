import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { connectCsiDriver } from '../../src/csi/client.ts';
import { connectNodeDriver, type RemoteNodeDriver } from '../../src/csi/node-client.ts';
import type { PublishRequest } from '../../src/model/node-driver.ts';
import { clearLeftovers, leftoversBelow } from '../support/host-leftovers.ts';
import { inlineId, inlineRequest, inlineTarget, podFolder, podUid } from '../support/inline-request.ts';
import { LoamProcess } from '../support/loam-process.ts';
import { callFor, VolumeLab } from '../support/volume-lab.ts';

const why = process.getuid?.() === 0 ? undefined : 'needs root';
const suffix = why === undefined ? '' : ` (skipped: ${why})`;
const MiB = 1 << 20;

describe.skipIf(why !== undefined)(`inline volumes over the CSI socket${suffix}`, () => {
  let folder = '';
  let kubeletPath = '';
  let loam: LoamProcess | undefined;
  let kubelet: RemoteNodeDriver | undefined;

  const start = async (...flags: string[]): Promise<void> => {
    loam = await LoamProcess.start({ folder, pools: [`p=${join(folder, 'pool')}`], flags });
  };
  const startAgain = async (...flags: string[]): Promise<void> => {
    await loam?.kill();
    await start(...flags);
  };
  const on = '--inline-max-size=32Mi';
  const node = (): RemoteNodeDriver => {
    if (kubelet === undefined) throw new Error('no kubelet');
    return kubelet;
  };
  const request = (changes: Partial<PublishRequest> = {}): PublishRequest =>
    inlineRequest(kubeletPath, { size: '16Mi', mode: '0777' }, changes);
  const publish = async (wanted = request()): Promise<void> => {
    mkdirSync(dirname(wanted.targetPath), { recursive: true });
    await node().publish(wanted, callFor(30_000));
  };
  const volumes = (): string[] => readdirSync(join(folder, 'pool/volumes'));
  const target = (): string => inlineTarget(kubeletPath);
  const unmountAll = (): void => {
    execFileSync('umount', [target()]);
    execFileSync('umount', [join(folder, 'inline', inlineId)]);
  };
  const expectNothing = async (): Promise<void> => {
    await expect
      .poll(() => [...volumes(), ...readdirSync(join(folder, 'pool/trash'))], { timeout: 30_000 })
      .toEqual([]);
    await expect.poll(() => leftoversBelow(folder), { timeout: 30_000 }).toEqual([]);
    expect(readdirSync(join(folder, 'inline'))).toEqual([]);
  };

  beforeEach(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'loam-inline-')));
    kubeletPath = join(folder, 'kubelet');
    mkdirSync(podFolder(kubeletPath, 'loam'), { recursive: true });
    kubelet = connectNodeDriver(join(folder, 'csi.sock'));
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.log(loam?.logTail(40));
    kubelet?.close();
    await loam?.kill();
    clearLeftovers(folder);
    rmSync(folder, { recursive: true, force: true });
  });

  it('hold their size, stay through a kill and a reboot, and go with their pod', async () => {
    await start(on, '--max-volumes=5');
    expect(await node().nodeInfo(callFor())).toMatchObject({ maxVolumesPerNode: 5 });
    await publish();
    writeFileSync(join(target(), 'kept'), 'by the pod');
    expect(() => writeFileSync(join(target(), 'much'), Buffer.alloc(20 * MiB))).toThrow(/ENOSPC/);
    rmSync(join(target(), 'much'));
    const { usage } = await node().stats({ volumeId: inlineId, volumePath: target() }, callFor());
    expect(usage[0]?.total).toBeLessThanOrEqual(16n << 20n);
    const controller = connectCsiDriver(loam?.csiSocketPath ?? '');
    try {
      await expect(controller.deleteVolume({ volumeId: inlineId }, callFor())).rejects.toThrow(
        /pod team\/web-0/,
      );
    } finally {
      controller.close();
    }

    await startAgain(on);
    await publish();
    expect(readFileSync(join(target(), 'kept'), 'utf8')).toBe('by the pod');

    await loam?.kill();
    unmountAll();
    rmSync(join(folder, 'run'), { recursive: true });
    // switched off meanwhile, which concerns new ones only
    await start();
    expect(leftoversBelow(folder)).toEqual([]);
    await publish();
    expect(readFileSync(join(target(), 'kept'), 'utf8')).toBe('by the pod');

    for (let round = 0; round < 2; round += 1) await node().unpublish(request(), callFor(30_000));
    expect(existsSync(target())).toBe(false);
    await expectNothing();
    await expect(publish()).rejects.toThrow(/switched off/);
    await expectNothing();
  });

  it.each(['xfs', 'btrfs'] as const)('are %s where the pod says so', async (fsType) => {
    await start('--inline-max-size=512Mi');
    const access = { kind: 'mount', fsType, mountFlags: [] } as const;
    await publish(request({ capability: { ...request().capability, access }, readonly: true }));
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((text) => text.includes(target()));
    expect(line).toContain(` - ${fsType} `);
    expect(() => writeFileSync(join(target(), 'file'), '')).toThrow(/EROFS/);
    await node().unpublish(request(), callFor(30_000));
    await expectNothing();
  });

  it('leave nothing where the pool has not that much', async () => {
    execFileSync('truncate', ['--size=64M', join(folder, 'disk')]);
    execFileSync('mkfs.ext4', ['-q', join(folder, 'disk')]);
    mkdirSync(join(folder, 'pool'));
    execFileSync('mount', ['-o', 'loop', join(folder, 'disk'), join(folder, 'pool')]);
    await start('--inline-max-size=1Gi');
    const attached = leftoversBelow(folder);
    await expect(publish(inlineRequest(kubeletPath, { size: '512Mi' }))).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
    });
    expect(volumes()).toEqual([]);
    expect(leftoversBelow(folder)).toEqual(attached);
    expect(existsSync(target())).toBe(false);
    expect(existsSync(join(folder, 'inline', inlineId))).toBe(false);
  });

  it('of a pod that was forced away are removed at the next start, not before', async () => {
    await start(on);
    await publish();
    await loam?.kill();
    execFileSync('umount', [target()]);
    rmSync(target(), { recursive: true });
    await start(on);
    expect(volumes()).toEqual([inlineId]);
    await loam?.kill();
    rmSync(podFolder(kubeletPath), { recursive: true });
    await start(on);
    await expectNothing();
  });

  it('end for the pod while a process still sits in them, and for the disk later', async () => {
    await start(on);
    await publish();
    // in a mount namespace of its own, as containers are: here it keeps no unmount from working
    const script = 'cd "$0" && echo ready && read line';
    const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, target()], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(holder, 'exit');
    try {
      await once(holder.stdout, 'data');
      await node().unpublish(request(), callFor(30_000));
      expect(volumes()).toEqual([inlineId]);
    } finally {
      holder.stdin.end('\n');
      await ended;
    }
    rmSync(podFolder(kubeletPath, podUid), { recursive: true });
    await startAgain(on);
    await expectNothing();
  });
});

describe.skipIf(why !== undefined)(`a process killed with an inline volume${suffix}`, () => {
  const program = fileURLToPath(new URL('../support/inline-crasher.ts', import.meta.url));
  let lab: VolumeLab;
  beforeEach(async () => {
    lab = await VolumeLab.make('one');
    mkdirSync(podFolder(lab.kubeletPath(), 'loam'), { recursive: true });
    mkdirSync(dirname(inlineTarget(lab.kubeletPath())), { recursive: true });
  });
  afterEach(async () => {
    clearLeftovers(lab.root);
    await lab.clear();
  });

  async function dieAt(verb: 'publish' | 'unpublish', step: string): Promise<void> {
    const flags = ['--disable-warning=ExperimentalWarning', program, lab.root, verb, step];
    const child = spawn(process.execPath, flags, { stdio: ['ignore', 'ignore', 'inherit'] });
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
  }
  const start = () => {
    const backends = [new LoopbackBackend({ poolPaths: [lab.poolPath()] })];
    return lab.start({ realMounts: true, backends, inlineMaxBytes: 1n << 30n });
  };
  const expectNothing = async (): Promise<void> => {
    await expect.poll(() => lab.namesIn('trash'), { timeout: 30_000 }).toEqual([]);
    expect(await lab.namesIn('volumes')).toEqual([]);
    await expect.poll(() => leftoversBelow(lab.root), { timeout: 30_000 }).toEqual([]);
    expect(existsSync(join(lab.stagingFolder, inlineId))).toBe(false);
    expect(existsSync(inlineTarget(lab.kubeletPath()))).toBe(false);
  };

  it.each(['reserved', 'intent', 'data', 'commit', 'staged', 'published'])(
    'at %s of a publish goes on with a repeat, and leaves nothing where the pod ends instead',
    async (step) => {
      const request = inlineRequest(lab.kubeletPath());
      await dieAt('publish', step);
      const first = await start();
      await first.node.publish(request, callFor(30_000));
      writeFileSync(join(request.targetPath, 'file'), 'x');
      await first.node.unpublish(request, callFor(30_000));
      await expectNothing();
      await first.stop();

      await dieAt('publish', step);
      const second = await start();
      await second.node.unpublish(request, callFor(30_000));
      await expectNothing();
    },
  );

  it.each(['unpublished', 'unstaged', 'released', 'taken'])(
    'at %s of an unpublish ends it with a repeat, or by the sweep',
    async (step) => {
      const request = inlineRequest(lab.kubeletPath());
      for (const isRepeated of [true, false]) {
        mkdirSync(dirname(request.targetPath), { recursive: true });
        const before = await start();
        await before.node.publish(request, callFor(30_000));
        await before.stop();
        await dieAt('unpublish', step);
        if (!isRepeated) rmSync(podFolder(lab.kubeletPath()), { recursive: true });
        const after = await start();
        await (isRepeated
          ? after.node.unpublish(request, callFor(30_000))
          : after.node.sweepInline(callFor(30_000)));
        await expectNothing();
        await after.stop();
      }
    },
  );
});
