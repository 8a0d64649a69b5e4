import { execFileSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('btrfs');

describe.skipIf(why !== '')(`a pool on btrfs${why}`, () => {
  it('refuses a class whose bytes it could not overwrite, and scrubs by discarding', async () => {
    await using lab = await DiskLab.make('btrfs', 256);
    const process = await lab.start();
    for (const parameters of [directory, { backend: 'loopback' }]) {
      const failed = await refusal(
        process.service.createVolume(
          volume('pvc-a', 8n * MiB, { parameters: { ...parameters, onDelete: 'scrub' } }),
          callFor(),
        ),
      );
      expect(failed).toMatchObject({ reason: 'cannot-erase' });
      expect(failed.message).toMatch(/copy-on-write.*scrub: discard/);
      lab.expectEmpty(process);
    }
    expect(
      await process.service.getCapacity({ capabilities: [], parameters: { onDelete: 'scrub' } }),
    ).toMatchObject({ maximumVolumeBytes: 0n });
    const discarded = { ...directory, onDelete: 'scrub', scrub: 'discard' };
    await process.service.createVolume(volume('pvc-b', MiB, { parameters: discarded }), callFor());
    writeFileSync(lab.at('volumes/pvc-b/data/file'), Buffer.alloc(1 << 20, 'x'));
    await process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor());
    lab.expectEmpty(process);
  });

  it('shares its space with a pool in another subvolume of the same btrfs', async () => {
    await using lab = await DiskLab.make('btrfs', 256);
    const names = ['one', 'two'];
    for (const name of names)
      execFileSync('btrfs', ['subvolume', 'create', lab.at(name)], { stdio: 'ignore' });
    expect(statSync(lab.at('one')).dev).not.toBe(statSync(lab.at('two')).dev);
    const { service } = await lab.start({
      pools: names.map((name) => lab.poolConfig(name, lab.at(name))),
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
});
