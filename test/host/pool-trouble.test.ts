import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { attachedDevices } from '../../src/host/loop-devices.ts';
import type { CreateVolumeRequest } from '../../src/model/csi-driver.ts';
import type { StorageError } from '../../src/model/errors.ts';
import { statFileSystem } from '../../src/host/statfs.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { makeScratchPool, whyNoMounts, type PoolKind, type ScratchPool } from '../support/scratch-pool.ts';
import { hideCommand, type HiddenCommand } from '../support/hidden-command.ts';
import { holdMounts } from '../support/mount-holder.ts';
import {
  blockCapability,
  callFor,
  createRequest,
  mountCapability,
  VolumeLab,
  type LabProcess,
  type StartOptions,
} from '../support/volume-lab.ts';

const why = whyNoMounts();
const MiB = 1n << 20n;
const directory = { backend: 'directory', limit: 'advisory' };

describe.skipIf(why !== undefined)(
  `a pool on a disk of its own${why === undefined ? '' : ` (skipped: ${why})`}`,
  () => {
    let lab: VolumeLab;
    let disk: ScratchPool;
    let hidden: HiddenCommand | undefined;
    beforeEach(async () => {
      lab = await VolumeLab.make();
    });
    afterEach(async () => {
      hidden?.restore();
      hidden = undefined;
      await lab.clear();
      try {
        await expect.poll(() => disk.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
      } finally {
        disk.remove();
      }
    });

    /** The real backends and mounts; the accounting thinks that the disk has 100 GiB. */
    const start = (kind: PoolKind, sizeBytes: number, options: StartOptions = {}): Promise<LabProcess> => {
      disk = makeScratchPool(kind, sizeBytes);
      return restart(options);
    };
    const restart = (options: StartOptions = {}): Promise<LabProcess> =>
      lab.start({
        pools: [lab.poolConfig('one', { path: disk.poolPath })],
        backends: [
          new LoopbackBackend({ poolPaths: [disk.poolPath] }),
          new DirectoryBackend({ poolPaths: [disk.poolPath] }),
        ],
        realMounts: true,
        ...options,
      });
    const at = (...parts: string[]): string => join(disk.poolPath, ...parts);
    const volume = (name: string, sizeBytes: bigint, changes: Partial<CreateVolumeRequest> = {}) =>
      createRequest(name, { capacityRange: { requiredBytes: sizeBytes, limitBytes: 0n }, ...changes });
    const refusal = async (answer: Promise<unknown>): Promise<StorageError> =>
      answer.then(
        () => Promise.reject(new Error('it was served')),
        (error: unknown) => error as StorageError,
      );
    const expectNothingOf = (process: LabProcess): void => {
      expect(readdirSync(at('volumes'))).toEqual([]);
      expect(readdirSync(at('by-claim'))).toEqual([]);
      expect(readdirSync(at('trash'))).toEqual([]);
      expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
      expect(attachedDevices().filter(({ backingFile }) => backingFile.startsWith(disk.poolPath))).toEqual(
        [],
      );
    };
    const devices = (id: string) =>
      attachedDevices().filter(({ backingFile }) => backingFile.includes(`/${id}/image`));
    const stagingOf = (id: string) => join(disk.basePath, `staging-${id}`);
    const targetOf = (id: string) => join(disk.basePath, `pod-${id}`);
    const stage = (process: LabProcess, id: string, capability = mountCapability) =>
      process.node.stage(
        { volumeId: id, stagingTargetPath: stagingOf(id), capability, volumeContext: {} },
        callFor(),
      );
    const publish = (process: LabProcess, id: string, capability = mountCapability) =>
      process.node.publish(
        {
          volumeId: id,
          stagingTargetPath: stagingOf(id),
          targetPath: targetOf(id),
          capability,
          volumeContext: {},
          readonly: false,
        },
        callFor(),
      );
    const takeAway = async (process: LabProcess, id: string): Promise<void> => {
      await process.node.unpublish({ volumeId: id, targetPath: targetOf(id) }, callFor());
      await process.node.unstage({ volumeId: id, stagingTargetPath: stagingOf(id) }, callFor());
    };

    it('that others write to, too, never promises more than there is, and learns what images have taken', async () => {
      const clock = new ManualClock();
      const process = await start('ext4', 512 << 20, { statFileSystem, clock });
      execFileSync('fallocate', ['-l', '200M', at('of-others')]);
      const parameters = { backend: 'loopback' };
      const create = (name: string, sizeBytes: bigint) =>
        process.service.createVolume(volume(name, sizeBytes, { parameters }), callFor());
      await create('pvc-a', 150n * MiB);
      // 512 less 200 less 150, and what the file systems take for themselves
      expect(await refusal(create('pvc-b', 150n * MiB))).toMatchObject({ reason: 'out-of-space' });
      await create('pvc-c', 64n * MiB);

      // what is written is counted once: as taken, and not as promised and unwritten, too
      execFileSync('dd', [
        'if=/dev/zero',
        `of=${at('volumes/pvc-a/image')}`,
        'bs=1M',
        'count=150',
        'conv=notrunc',
        'status=none',
      ]);
      const before = await process.service.getCapacity({ capabilities: [], parameters });
      await clock.advance(60_000);
      await expect
        .poll(
          async () => (await process.service.getCapacity({ capabilities: [], parameters })).availableBytes,
          { timeout: 5000 },
        )
        .toBeGreaterThan(before.availableBytes);
    });

    it('that runs out of inodes anywhere in a create answers RESOURCE_EXHAUSTED and keeps nothing', async () => {
      const process = await start('ext4', 16 << 20);
      // a create's names and folders; the first that fits ends the loop
      mkdirSync(at('filler'));
      let filler = 0;
      for (;;) {
        try {
          writeFileSync(at('filler', `${(filler += 1)}`), '');
        } catch {
          break;
        }
      }
      const parameters = {
        ...directory,
        'csi.storage.k8s.io/pvc/name': 'data',
        'csi.storage.k8s.io/pvc/namespace': 'team',
      };
      let refusals = 0;
      for (let freed = 0; freed < 12; freed += 1) {
        const answer = process.service.createVolume(volume('pvc-a', MiB, { parameters }), callFor());
        const failed = await answer.then(
          () => undefined,
          (error: unknown) => error as StorageError,
        );
        if (failed === undefined) break;
        expect(failed).toMatchObject({ reason: 'out-of-space', code: 'RESOURCE_EXHAUSTED' });
        expect(failed.message).toMatch(/free space or inodes on the disk/);
        expectNothingOf(process);
        refusals += 1;
        rmSync(at('filler', `${(filler -= 1)}`));
      }
      // failed at the folder, the intent, the data, and then not at all
      expect(refusals).toBeGreaterThan(2);
      expect(JSON.parse(readFileSync(at('volumes/pvc-a/volume.json'), 'utf8'))).toMatchObject({
        state: 'ready',
      });
    });

    it.each([
      ['thin ext4', { backend: 'loopback' }, 900n * MiB],
      ['thin xfs', { backend: 'loopback', 'csi.storage.k8s.io/fstype': 'xfs' }, 900n * MiB],
      ['thick ext4', { backend: 'loopback', provisioning: 'thick' }, 20n * MiB],
    ])(
      'that fills up in the middle of a %s image answers RESOURCE_EXHAUSTED and keeps nothing',
      async (_what, parameters, sizeBytes) => {
        const process = await start('ext4', 24 << 20);
        expect(() => writeFileSync(at('filler'), Buffer.alloc(30 << 20))).toThrow(/ENOSPC/);
        execFileSync('truncate', ['--size=-256K', at('filler')]);
        const failed = await refusal(
          process.service.createVolume(volume('pvc-a', sizeBytes, { parameters }), callFor()),
        );
        expect(failed).toMatchObject({ reason: 'out-of-space', code: 'RESOURCE_EXHAUSTED' });
        expectNothingOf(process);
      },
    );

    it('that becomes read-only refuses creates, keeps what is there, and serves when it is writable', async () => {
      const process = await start('ext4', 64 << 20);
      await process.service.createVolume(volume('pvc-a', MiB, { parameters: directory }), callFor());
      execFileSync('mount', ['-o', 'remount,ro', disk.poolPath]);
      const failed = await refusal(
        process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor()),
      );
      expect(failed).toMatchObject({ reason: 'pool-unavailable', code: 'UNAVAILABLE' });
      expect(failed.message).toMatch(/read-only/);
      expect(process.service.isReady()).toBe(false);
      execFileSync('mount', ['-o', 'remount,rw', disk.poolPath]);
      await expect.poll(() => process.pools.usable(), { timeout: 5000 }).toHaveLength(1);
      expect(readdirSync(at('volumes'))).toEqual(['pvc-a']);
    });

    it('that is not mounted never becomes an empty directory, for a create, a stage or a publish', async () => {
      const process = await start('ext4', 64 << 20);
      await process.service.createVolume(volume('pvc-a', MiB, { parameters: directory }), callFor());
      await stage(process, 'pvc-a');
      writeFileSync(join(stagingOf('pvc-a'), 'file'), 'kept');
      unmountLazily();
      const calls = [
        () => publish(process, 'pvc-a'),
        () => stage(process, 'pvc-a'),
        () => process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor()),
        () => process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor()),
      ];
      for (const call of calls) expect(await refusal(call())).toMatchObject({ reason: 'pool-unavailable' });
      expect(existsSync(targetOf('pvc-a'))).toBe(false);
      expect(readdirSync(disk.poolPath)).toEqual([]);
      await process.stop();
      const next = await restart();
      expect(next.pools.unavailable()).toMatchObject([
        { why: expect.stringMatching(/its disk is probably not mounted/) as unknown },
      ]);
      expect(readdirSync(disk.poolPath)).toEqual([]);
      await takeAway(next, 'pvc-a');
      execFileSync('mount', ['-o', 'loop', join(disk.basePath, 'disk'), disk.poolPath]);
      await expect.poll(() => next.pools.usable(), { timeout: 5000 }).toHaveLength(1);
      await stage(next, 'pvc-a');
      await publish(next, 'pvc-a');
      expect(readFileSync(join(targetOf('pvc-a'), 'file'), 'utf8')).toBe('kept');
      await takeAway(next, 'pvc-a');
    });

    it.each(['intent', 'reserved'] as const)(
      'that is unmounted in the middle of a create (%s) leaves nothing in the folder below it',
      async (when) => {
        let isDone = false;
        const process = await start('ext4', 64 << 20, {
          reached: async (step) => {
            if (step !== when || isDone) return;
            isDone = true;
            unmountLazily();
          },
        });
        const answer = process.service.createVolume(
          volume('pvc-a', MiB, { parameters: directory }),
          callFor(),
        );
        await refusal(answer);
        expect(readdirSync(disk.poolPath)).toEqual([]);
        execFileSync('mount', ['-o', 'loop', join(disk.basePath, 'disk'), disk.poolPath]);
        await process.stop();
        const next = await restart();
        expectNothingOf(next);
      },
    );

    it.each([
      ['mounted', mountCapability],
      ['raw block', blockCapability],
    ])('that went away lets go of a %s image when kubelet takes it back', async (_what, capability) => {
      const process = await start('ext4', 64 << 20);
      const parameters = { backend: 'loopback' };
      const request = volume('pvc-away', 8n * MiB, { parameters, capabilities: [capability] });
      await process.service.createVolume(request, callFor());
      await stage(process, 'pvc-away', capability);
      await publish(process, 'pvc-away', capability);
      unmountLazily();
      expect(await process.pools.usable()).toEqual([]);
      try {
        await takeAway(process, 'pvc-away');
        await expect.poll(() => devices('pvc-away'), { timeout: 5000 }).toEqual([]);
      } finally {
        // no path leads to their disk any more, by which others are found
        for (const { path } of devices('pvc-away')) execFileSync('losetup', ['--detach', path]);
      }
      expect(existsSync(targetOf('pvc-away'))).toBe(false);
    });

    it('lets go of loop devices that a crash between losetup and mount left, in volumes and in the trash', async () => {
      const process = await start('ext4', 128 << 20);
      const parameters = { backend: 'loopback' };
      for (const name of ['pvc-a', 'pvc-b', 'pvc-c'])
        await process.service.createVolume(volume(name, 8n * MiB, { parameters }), callFor());
      await stage(process, 'pvc-c');
      await process.stop();
      for (const id of ['pvc-a', 'pvc-b']) execFileSync('losetup', ['--find', at('volumes', id, 'image')]);
      execFileSync('mv', [at('volumes/pvc-b'), at('trash', `pvc-b.${Date.now()}`)]);
      const next = await restart();
      await expect.poll(() => [...devices('pvc-a'), ...devices('pvc-b')], { timeout: 5000 }).toEqual([]);
      await expect.poll(() => readdirSync(at('trash')), { timeout: 5000 }).toEqual([]);
      // the staged one is in use
      expect(devices('pvc-c')).toHaveLength(1);
      await stage(next, 'pvc-c');
      await next.node.unstage({ volumeId: 'pvc-c', stagingTargetPath: stagingOf('pvc-c') }, callFor());
      await stage(next, 'pvc-a');
      await next.node.unstage({ volumeId: 'pvc-a', stagingTargetPath: stagingOf('pvc-a') }, callFor());
    });

    it('refuses to delete what is mounted, here or only in another mount namespace', async () => {
      const process = await start('ext4', 64 << 20);
      for (const [name, parameters] of [
        ['pvc-a', directory],
        ['pvc-b', { backend: 'loopback' }],
      ] as const) {
        await process.service.createVolume(volume(name, 8n * MiB, { parameters }), callFor());
        await stage(process, name);
        const here = await refusal(process.service.deleteVolume({ volumeId: name }, callFor()));
        expect(here).toMatchObject({ reason: 'in-use', code: 'FAILED_PRECONDITION' });
        expect(here.message).toContain(stagingOf(name));
        const elsewhere = await holdMounts();
        try {
          await process.node.unstage({ volumeId: name, stagingTargetPath: stagingOf(name) }, callFor());
          const there = await refusal(process.service.deleteVolume({ volumeId: name }, callFor()));
          expect(there).toMatchObject({ reason: 'in-use' });
          expect(there.message).toMatch(/mount namespace of process \d+/);
          expect(existsSync(at('volumes', name))).toBe(true);
        } finally {
          await elsewhere.end();
        }
        await expect
          .poll(
            () =>
              process.service.deleteVolume({ volumeId: name }, callFor()).then(
                () => 'deleted',
                (error: unknown) => (error as StorageError).reason,
              ),
            { timeout: 5000 },
          )
          .toBe('deleted');
      }
      expectNothingOf(process);
    });

    it.each([
      ['mkfs.ext4', /mkfs.ext4 is not installed on this node; install the package e2fsprogs/],
      ['losetup', /losetup is not installed on this node; install the package mount/],
    ])(
      'on a node without %s says so where the class needs it, and serves the rest',
      async (command, message) => {
        hidden = hideCommand(command);
        const process = await start('plain', 0);
        const failed = await refusal(
          process.service.createVolume(volume('pvc-a', 8n * MiB, { parameters: {} }), callFor()),
        );
        expect(failed.code).toBe('INVALID_ARGUMENT');
        expect(failed.message).toMatch(message);
        await process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor());
        await process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
        expectNothingOf(process);
      },
    );

    it('loses mkfs while it serves: the create says so and leaves nothing', async () => {
      const process = await start('plain', 0);
      const create = () =>
        process.service.createVolume(
          volume('pvc-a', 8n * MiB, { parameters: { backend: 'loopback' } }),
          callFor(),
        );
      hidden = hideCommand('mkfs.ext4');
      expect(await refusal(create())).toMatchObject({
        code: 'INTERNAL',
        message: expect.stringMatching(/mkfs.ext4 is not installed/) as unknown,
      });
      expectNothingOf(process);
      hidden.restore();
      hidden = hideCommand('mkfs.ext4', 'echo "mkfs: the moon is in the wrong phase" >&2; exit 3');
      expect(await refusal(create())).toMatchObject({
        code: 'INTERNAL',
        message: expect.stringMatching(/mkfs.ext4 failed with exit code 3: .*wrong phase/) as unknown,
      });
      expectNothingOf(process);
      hidden.restore();
      await create();
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    });

    it('loses losetup while it serves: a stage says so and leaves nothing staged', async () => {
      const process = await start('plain', 0);
      const parameters = { backend: 'loopback' };
      await process.service.createVolume(volume('pvc-a', 8n * MiB, { parameters }), callFor());
      hidden = hideCommand('losetup', 'echo "losetup: cannot find an unused loop device" >&2; exit 1');
      expect(await refusal(stage(process, 'pvc-a'))).toMatchObject({
        code: 'INTERNAL',
        message: expect.stringMatching(/loop devices cannot be attached.*unused loop device/) as unknown,
      });
      hidden.restore();
      expect(process.environment.publications.isStaged('pvc-a')).toBe(false);
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
      expectNothingOf(process);
    });

    it('on btrfs refuses a class whose bytes it could not overwrite, and scrubs by discarding', async () => {
      const process = await start('btrfs', 256 << 20);
      for (const parameters of [directory, { backend: 'loopback' }]) {
        const failed = await refusal(
          process.service.createVolume(
            volume('pvc-a', 8n * MiB, { parameters: { ...parameters, onDelete: 'scrub' } }),
            callFor(),
          ),
        );
        expect(failed).toMatchObject({ reason: 'cannot-erase' });
        expect(failed.message).toMatch(/copy-on-write.*scrub: discard/);
        expectNothingOf(process);
      }
      expect(
        await process.service.getCapacity({ capabilities: [], parameters: { onDelete: 'scrub' } }),
      ).toMatchObject({ maximumVolumeBytes: 0n });
      const discarded = { ...directory, onDelete: 'scrub', scrub: 'discard' };
      await process.service.createVolume(volume('pvc-b', MiB, { parameters: discarded }), callFor());
      writeFileSync(at('volumes/pvc-b/data/file'), Buffer.alloc(1 << 20, 'x'));
      await process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
      expectNothingOf(process);
    });

    it('shares its space with a pool in another subvolume of the same btrfs', async () => {
      disk = makeScratchPool('btrfs', 256 << 20);
      const names = ['one', 'two'];
      for (const name of names) execFileSync('btrfs', ['subvolume', 'create', at(name)], { stdio: 'ignore' });
      expect(statSync(at('one')).dev).not.toBe(statSync(at('two')).dev);
      const { service } = await lab.start({
        pools: names.map((name) => lab.poolConfig(name, { path: at(name) })),
        backends: [new DirectoryBackend()],
        realMounts: true,
      });
      const inPool = (pool: string) =>
        volume(`pvc-${pool}`, 60n << 30n, { parameters: { ...directory, pool } });
      await service.createVolume(inPool('one'), callFor());
      expect(await refusal(service.createVolume(inPool('two'), callFor()))).toMatchObject({
        reason: 'out-of-space',
      });
      expect(await service.getCapacity({ capabilities: [], parameters: directory })).toMatchObject({
        availableBytes: 40n << 30n,
      });
    });

    function unmountLazily(): void {
      execFileSync('umount', ['--lazy', disk.poolPath]);
    }
  },
);
