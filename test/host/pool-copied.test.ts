import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiskLab, directory, MiB, volume } from '../support/disk-lab.ts';
import { refusal } from '../support/refusal.ts';
import { fingerprint } from '../support/scratch-directory.ts';
import { whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { callFor } from '../support/volume-lab.ts';

const why = whyNoScratchPool('xfs') || whyNoScratchPool('btrfs');
const request = volume('pvc-a', MiB, { parameters: directory });

interface Marker {
  readonly uuid: string;
  readonly fileSystem?: { readonly type: string; readonly uuid?: string };
}

describe.skipIf(why !== '')(`a copy of a pool’s folder${why}`, () => {
  it.each<PoolKind>(['ext4', 'xfs', 'btrfs'])(
    'in the empty mount point of its %s is no pool, and the disk is one again when it is back',
    async (kind) => {
      await using lab = await DiskLab.make(kind);
      const before = await lab.start();
      await before.service.createVolume(request, callFor());
      await before.stop();
      const backup = join(lab.disk.basePath, 'backup');
      cpSync(lab.disk.path, backup, { recursive: true });
      await lab.disk.unmount();
      cpSync(backup, lab.disk.path, { recursive: true });
      const copied = fingerprint(lab.disk.path);
      const process = await lab.start();
      const marker = markerAt(lab);
      expect(process.pools.open()).toEqual([]);
      const [trouble] = process.pools.unavailable();
      expect(trouble?.why).toMatch(
        `says that pool ${marker.uuid} is on the ${kind} ${marker.fileSystem?.uuid}`,
      );
      expect(trouble?.why).toMatch(`take the field fileSystem out of ${lab.disk.path}/pool.json`);
      const refused = await refusal(
        process.service.createVolume(volume('pvc-b', MiB, { parameters: directory }), callFor()),
      );
      expect(refused.reason).toBe('pool-unavailable');
      const staged = await refusal(lab.stage(process, 'pvc-a'));
      expect(staged.reason).toBe('pool-unavailable');
      expect(fingerprint(lab.disk.path)).toBe(copied);
      lab.disk.mount();
      await expect.poll(() => process.pools.usable(), { timeout: 5000 }).toHaveLength(1);
      expect(process.pools.locate('pvc-a')).toBeDefined();
    },
  );

  it('under a pool that runs is not taken for it when the disk goes', async () => {
    await using lab = await DiskLab.make('ext4', 64);
    const process = await lab.start();
    await process.service.createVolume(request, callFor());
    const backup = join(lab.disk.basePath, 'backup');
    cpSync(lab.disk.path, backup, { recursive: true });
    lab.disk.unmountLazily();
    cpSync(backup, lab.disk.path, { recursive: true });
    expect((await refusal(lab.stage(process, 'pvc-a'))).reason).toBe('pool-unavailable');
    expect(process.pools.unavailable()[0]?.why).toMatch(/it is a copy/);
    expect(process.service.isReady()).toBe(false);
    rmSync(lab.at('volumes'), { recursive: true });
    lab.disk.mount();
    await expect.poll(() => process.pools.usable(), { timeout: 5000 }).toHaveLength(1);
    expect(readdirSync(lab.at('volumes'))).toEqual(['pvc-a']);
  });

  it('is the pool where somebody says so, and remembers where it lies now', async () => {
    await using lab = await DiskLab.make('ext4', 64);
    const before = await lab.start();
    await before.service.createVolume(request, callFor());
    await before.stop();
    const { fileSystem, ...rest } = markerAt(lab);
    expect(fileSystem).toMatchObject({ type: 'ext4' });
    writeFileSync(
      lab.at('pool.json'),
      JSON.stringify({ ...rest, fileSystem: { type: 'ext4', uuid: 'the-old-disk' } }),
    );
    const refused = await lab.start();
    expect(refused.pools.open()).toEqual([]);
    await refused.stop();
    writeFileSync(lab.at('pool.json'), JSON.stringify(rest));
    const process = await lab.start();
    expect(process.pools.open()).toHaveLength(1);
    expect(markerAt(lab)).toEqual({ ...rest, fileSystem });
  });
});

function markerAt(lab: DiskLab): Marker {
  return JSON.parse(readFileSync(lab.at('pool.json'), 'utf8')) as Marker;
}
