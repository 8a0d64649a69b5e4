import { describe, expect, it } from 'vitest';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { hideCommand } from '../support/hidden-command.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool();

describe.skipIf(why !== '')(`a pool${why}`, () => {
  it.each([
    ['mkfs.ext4', /mkfs.ext4 is not installed on this node; install the package e2fsprogs/],
    ['losetup', /losetup is not installed on this node; install the package mount/],
  ])(
    'on a node without %s says so where the class needs it, and serves the rest',
    async (command, message) => {
      await using lab = await DiskLab.make('plain');
      using _hidden = hideCommand(command);
      const process = await lab.start();
      const failed = await refusal(
        process.service.createVolume(volume('pvc-a', 8n * MiB, { parameters: {} }), callFor()),
      );
      expect(failed.code).toBe('INVALID_ARGUMENT');
      expect(failed.message).toMatch(message);
      await process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor());
      await process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
      lab.expectEmpty(process);
    },
  );

  it('loses mkfs while it serves: the create says so and leaves nothing', async () => {
    await using lab = await DiskLab.make('plain');
    const process = await lab.start();
    const create = () =>
      process.service.createVolume(
        volume('pvc-a', 8n * MiB, { parameters: { backend: 'loopback' } }),
        callFor(),
      );
    const cases = [
      [undefined, /mkfs.ext4 is not installed/],
      ['echo "mkfs: the moon is in the wrong phase" >&2; exit 3', /failed with exit code 3: .*wrong phase/],
    ] as const;
    for (const [script, message] of cases) {
      using _hidden = hideCommand('mkfs.ext4', script);
      const failed = await refusal(create());
      expect(failed.code).toBe('INTERNAL');
      expect(failed.message).toMatch(message);
      lab.expectEmpty(process);
    }
    await create();
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
  });

  it('loses losetup while it serves: a stage says so and leaves nothing staged', async () => {
    await using lab = await DiskLab.make('plain');
    const process = await lab.start();
    const parameters = { backend: 'loopback' };
    await process.service.createVolume(volume('pvc-a', 8n * MiB, { parameters }), callFor());
    {
      using _hidden = hideCommand('losetup', 'echo "losetup: cannot find an unused loop device" >&2; exit 1');
      expect(await refusal(lab.stage(process, 'pvc-a'))).toMatchObject({
        code: 'INTERNAL',
        message: expect.stringMatching(/loop devices cannot be attached.*unused loop device/) as unknown,
      });
    }
    expect(process.environment.publications.isStaged('pvc-a')).toBe(false);
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    lab.expectEmpty(process);
  });
});
