import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { StorageError } from '../../src/model/errors.ts';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { holdMounts } from '../support/mount-holder.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('ext4');

describe.skipIf(why !== '')(`a pool${why}`, () => {
  it('lets go of loop devices that a crash between losetup and mount left, in volumes and in the trash', async () => {
    await using lab = await DiskLab.make('ext4', 128);
    const process = await lab.start();
    const parameters = { backend: 'loopback' };
    for (const name of ['pvc-a', 'pvc-b', 'pvc-c'])
      await process.service.createVolume(volume(name, 8n * MiB, { parameters }), callFor());
    await lab.stage(process, 'pvc-c');
    await process.stop();
    for (const id of ['pvc-a', 'pvc-b']) execFileSync('losetup', ['--find', lab.at('volumes', id, 'image')]);
    execFileSync('mv', [lab.at('volumes/pvc-b'), lab.at('trash', `pvc-b.${Date.now()}`)]);
    const next = await lab.start();
    await expect
      .poll(() => [...lab.devices('pvc-a'), ...lab.devices('pvc-b')], { timeout: 5000 })
      .toEqual([]);
    await expect.poll(() => readdirSync(lab.at('trash')), { timeout: 5000 }).toEqual([]);
    // the staged one is in use
    expect(lab.devices('pvc-c')).toHaveLength(1);
    await lab.stage(next, 'pvc-c');
    await lab.unstage(next, 'pvc-c');
    await lab.stage(next, 'pvc-a');
    await lab.unstage(next, 'pvc-a');
  });

  it('refuses to delete what is mounted, here or only in another mount namespace', async () => {
    await using lab = await DiskLab.make('ext4', 64);
    const process = await lab.start();
    for (const [name, parameters] of [
      ['pvc-a', directory],
      ['pvc-b', { backend: 'loopback' }],
    ] as const) {
      await process.service.createVolume(volume(name, 8n * MiB, { parameters }), callFor());
      await lab.stage(process, name);
      const here = await refusal(process.service.deleteVolume({ volumeId: name }, callFor()));
      expect(here).toMatchObject({ reason: 'in-use', code: 'FAILED_PRECONDITION' });
      expect(here.message).toContain(lab.stagingOf(name));
      const elsewhere = await holdMounts();
      try {
        await lab.unstage(process, name);
        const there = await refusal(process.service.deleteVolume({ volumeId: name }, callFor()));
        expect(there).toMatchObject({ reason: 'in-use' });
        expect(there.message).toMatch(/mount namespace of process \d+/);
        expect(existsSync(lab.at('volumes', name))).toBe(true);
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
    lab.expectEmpty(process);
  });
});
