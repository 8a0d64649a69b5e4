import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { blockCapability, callFor, mountCapability } from '../support/volume-lab.ts';

const why = whyNoScratchPool('ext4');

describe.skipIf(why !== '')(`a pool on a disk${why}`, () => {
  it('that becomes read-only refuses creates, keeps what is there, and serves when it is writable', async () => {
    await using lab = await DiskLab.make('ext4', 64);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', MiB, { parameters: directory }), callFor());
    execFileSync('mount', ['-o', 'remount,ro', lab.disk.path]);
    const failed = await refusal(
      process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor()),
    );
    expect(failed).toMatchObject({ reason: 'pool-unavailable', code: 'UNAVAILABLE' });
    expect(failed.message).toMatch(/read-only/);
    expect(process.service.isReady()).toBe(false);
    execFileSync('mount', ['-o', 'remount,rw', lab.disk.path]);
    await expect.poll(() => process.pools.usable(), { timeout: 5000 }).toHaveLength(1);
    expect(readdirSync(lab.at('volumes'))).toEqual(['pvc-a']);
  });

  it('that is not mounted never becomes an empty directory, for a create, a stage or a publish', async () => {
    await using lab = await DiskLab.make('ext4', 64);
    const process = await lab.start();
    await process.service.createVolume(volume('pvc-a', MiB, { parameters: directory }), callFor());
    await lab.stage(process, 'pvc-a');
    writeFileSync(join(lab.stagingOf('pvc-a'), 'file'), 'kept');
    lab.disk.unmountLazily();
    const calls = [
      () => lab.publish(process, 'pvc-a'),
      () => lab.stage(process, 'pvc-a'),
      () => process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor()),
      () => process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor()),
    ];
    for (const call of calls) expect(await refusal(call())).toMatchObject({ reason: 'pool-unavailable' });
    expect(existsSync(lab.targetOf('pvc-a'))).toBe(false);
    expect(readdirSync(lab.disk.path)).toEqual([]);
    await process.stop();
    const next = await lab.start();
    expect(next.pools.unavailable()).toMatchObject([
      { why: expect.stringMatching(/its disk is probably not mounted/) as unknown },
    ]);
    expect(readdirSync(lab.disk.path)).toEqual([]);
    await lab.unpublish(next, 'pvc-a');
    await lab.unstage(next, 'pvc-a');
    lab.disk.mount();
    await expect.poll(() => next.pools.usable(), { timeout: 5000 }).toHaveLength(1);
    await lab.stage(next, 'pvc-a');
    await lab.publish(next, 'pvc-a');
    expect(readFileSync(join(lab.targetOf('pvc-a'), 'file'), 'utf8')).toBe('kept');
    await lab.unpublish(next, 'pvc-a');
    await lab.unstage(next, 'pvc-a');
  });

  it.each(['intent', 'reserved'] as const)(
    'that is unmounted in the middle of a create (%s) leaves nothing in the folder below it',
    async (when) => {
      let isDone = false;
      await using lab = await DiskLab.make('ext4', 64);
      const process = await lab.start({
        reached: async (step) => {
          if (step !== when || isDone) return;
          isDone = true;
          lab.disk.unmountLazily();
        },
      });
      const answer = process.service.createVolume(volume('pvc-a', MiB, { parameters: directory }), callFor());
      await refusal(answer);
      expect(readdirSync(lab.disk.path)).toEqual([]);
      lab.disk.mount();
      await process.stop();
      const next = await lab.start();
      lab.expectEmpty(next);
    },
  );

  it.each([
    ['mounted', mountCapability],
    ['raw block', blockCapability],
  ])('that went away lets go of a %s image when kubelet takes it back', async (_what, capability) => {
    await using lab = await DiskLab.make('ext4', 64);
    const process = await lab.start();
    const parameters = { backend: 'loopback' };
    const request = volume('pvc-away', 8n * MiB, { parameters, capabilities: [capability] });
    await process.service.createVolume(request, callFor());
    await lab.stage(process, 'pvc-away', capability);
    await lab.publish(process, 'pvc-away', capability);
    lab.disk.unmountLazily();
    expect(await process.pools.usable()).toEqual([]);
    try {
      await lab.unpublish(process, 'pvc-away');
      await lab.unstage(process, 'pvc-away');
      await expect.poll(() => lab.devices('pvc-away'), { timeout: 5000 }).toEqual([]);
    } finally {
      // no path leads to their disk any more, by which others are found
      for (const { path } of lab.devices('pvc-away')) execFileSync('losetup', ['--detach', path]);
    }
    expect(existsSync(lab.targetOf('pvc-away'))).toBe(false);
  });
});
