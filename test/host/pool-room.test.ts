import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { StorageError } from '../../src/model/errors.ts';
import { statFileSystem } from '../../src/host/statfs.ts';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('ext4');

describe.skipIf(why !== '')(`a pool on a disk${why}`, () => {
  it('that others write to, too, never promises more than there is, and learns what images have taken', async () => {
    const clock = new ManualClock();
    await using lab = await DiskLab.make('ext4', 512);
    const process = await lab.start({ statFileSystem, clock });
    execFileSync('fallocate', ['-l', '200M', lab.at('of-others')]);
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
      `of=${lab.at('volumes/pvc-a/image')}`,
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
    await using lab = await DiskLab.make('ext4', 16);
    const process = await lab.start();
    // a create's names and folders; the first that fits ends the loop
    mkdirSync(lab.at('filler'));
    let filler = 0;
    for (;;) {
      try {
        writeFileSync(lab.at('filler', `${(filler += 1)}`), '');
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
      lab.expectEmpty(process);
      refusals += 1;
      rmSync(lab.at('filler', `${(filler -= 1)}`));
    }
    // failed at the folder, the intent, the data, and then not at all
    expect(refusals).toBeGreaterThan(2);
    expect(JSON.parse(readFileSync(lab.at('volumes/pvc-a/volume.json'), 'utf8'))).toMatchObject({
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
      await using lab = await DiskLab.make('ext4', 24);
      const process = await lab.start();
      expect(() => writeFileSync(lab.at('filler'), Buffer.alloc(30 << 20))).toThrow(/ENOSPC/);
      execFileSync('truncate', ['--size=-256K', lab.at('filler')]);
      const failed = await refusal(
        process.service.createVolume(volume('pvc-a', sizeBytes, { parameters }), callFor()),
      );
      expect(failed).toMatchObject({ reason: 'out-of-space', code: 'RESOURCE_EXHAUSTED' });
      lab.expectEmpty(process);
    },
  );
});
