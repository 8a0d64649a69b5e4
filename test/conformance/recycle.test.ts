import { mkdirSync, readFileSync, readdirSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BtrfsBackend } from '../../src/backends/btrfs/backend.ts';
import { DiskLab, MiB, volume } from '../support/disk-lab.ts';
import { whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { blockCapability, callFor, mountCapability, type LabProcess } from '../support/volume-lab.ts';

interface Shape {
  readonly title: string;
  readonly pool: PoolKind;
  readonly parameters: Readonly<Record<string, string>>;
  readonly isBlock?: boolean;
}

const root = { mode: '2770', uid: '1234', gid: '5678' };
const fsType = (type: string) => ({ backend: 'loopback', 'csi.storage.k8s.io/fstype': type });
const shapes: readonly Shape[] = [
  { title: 'a directory', pool: 'ext4', parameters: { backend: 'directory', limit: 'advisory', ...root } },
  {
    title: 'a directory on xfs',
    pool: 'xfs',
    parameters: { backend: 'directory', limit: 'advisory', ...root },
  },
  { title: 'a subvolume', pool: 'btrfs', parameters: { backend: 'btrfs', limit: 'advisory', ...root } },
  { title: 'an ext4 image', pool: 'xfs', parameters: { ...fsType('ext4'), ...root } },
  { title: 'an xfs image', pool: 'ext4', parameters: { ...fsType('xfs'), ...root } },
  { title: 'a btrfs image', pool: 'ext4', parameters: { ...fsType('btrfs'), ...root } },
  { title: 'a thick image', pool: 'ext4', parameters: { ...fsType('ext4'), provisioning: 'thick', ...root } },
  { title: 'a block image', pool: 'ext4', parameters: { backend: 'loopback' }, isBlock: true },
];

const secret = 'what the last tenant wrote';

/** What the next pod would see: names and root for a file system, the first bytes for a device. */
async function look(lab: DiskLab, process: LabProcess, shape: Shape): Promise<unknown> {
  const capability = shape.isBlock === true ? blockCapability : mountCapability;
  const path = lab.targetOf('pvc-a');
  mkdirSync(lab.stagingOf('pvc-a'), { recursive: true });
  await lab.stage(process, 'pvc-a', capability);
  await lab.publish(process, 'pvc-a', capability);
  try {
    const [device] = lab.devices('pvc-a');
    if (shape.isBlock === true) {
      const { sizeBytes } = process.service.held()[0] ?? {};
      return { sizeBytes, isSecret: readFileSync(device?.path ?? '').includes(secret) };
    }
    const { mode, uid, gid } = statSync(path);
    const { type, blocks, bsize } = statfsSync(path);
    const names = readdirSync(path).filter((name) => name !== 'lost+found');
    return { names, mode: mode & 0o7777, uid, gid, type, sizeBytes: blocks * bsize };
  } finally {
    await lab.unpublish(process, 'pvc-a');
    await lab.unstage(process, 'pvc-a');
  }
}

async function write(lab: DiskLab, process: LabProcess, shape: Shape): Promise<void> {
  const capability = shape.isBlock === true ? blockCapability : mountCapability;
  mkdirSync(lab.stagingOf('pvc-a'), { recursive: true });
  await lab.stage(process, 'pvc-a', capability);
  await lab.publish(process, 'pvc-a', capability);
  const [device] = lab.devices('pvc-a');
  if (shape.isBlock === true) writeFileSync(device?.path ?? '', secret, { flag: 'r+' });
  else writeFileSync(join(lab.targetOf('pvc-a'), 'file'), secret);
  await lab.unpublish(process, 'pvc-a');
  await lab.unstage(process, 'pvc-a');
}

describe('recycling gives the next tenant an empty volume of the same shape:', () => {
  for (const shape of shapes) {
    const why = whyNoScratchPool(shape.pool);
    it.skipIf(why !== '')(`${shape.title}${why}`, async () => {
      await using lab = await DiskLab.make(shape.pool, 1024);
      const process = await lab.start(
        shape.pool === 'btrfs' ? { backends: [new BtrfsBackend({ poolPaths: [lab.at()] })] } : {},
      );
      const scrub = shape.pool === 'btrfs' ? {} : { onDelete: 'scrub' };
      const parameters = { ...shape.parameters, ...scrub };
      const capabilities = [shape.isBlock === true ? blockCapability : mountCapability];
      await process.service.createVolume(
        volume('pvc-a', 320n * MiB, { parameters, capabilities }),
        callFor(60_000),
      );
      const fresh = await look(lab, process, shape);
      await write(lab, process, shape);
      expect(await look(lab, process, shape)).not.toEqual(fresh);
      await process.service.recycle({ volumeId: 'pvc-a' }, callFor(60_000));
      expect(readdirSync(lab.at('trash'))).toEqual([]);
      expect(process.service.wasUsed('pvc-a')).toBe(false);
      expect(await look(lab, process, shape)).toEqual(fresh);
      // and again, after it was used again, with nothing left of it at the end
      await process.service.recycle({ volumeId: 'pvc-a' }, callFor(60_000));
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000));
      lab.expectEmpty(process);
    });
  }
});

describe('archiving keeps a volume whole:', () => {
  for (const shape of shapes) {
    const why = whyNoScratchPool(shape.pool);
    it.skipIf(why !== '')(`${shape.title}${why}`, async () => {
      await using lab = await DiskLab.make(shape.pool, 1024);
      const process = await lab.start();
      const parameters = { ...shape.parameters, onDelete: 'archive' };
      const capabilities = [shape.isBlock === true ? blockCapability : mountCapability];
      await process.service.createVolume(
        volume('pvc-a', 320n * MiB, { parameters, capabilities }),
        callFor(60_000),
      );
      await write(lab, process, shape);
      const written = await look(lab, process, shape);
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000));
      expect(readdirSync(lab.at('volumes'))).toEqual([]);
      expect(lab.devices('pvc-a')).toEqual([]);
      const [archived] = process.service.archived();
      expect(archived).toMatchObject({ archiveId: 'pvc-a', path: lab.at('archive', 'pvc-a') });
      await process.stop();

      const next = await lab.start();
      const pool = next.pools.open()[0];
      const record = await pool?.archive.giveBack('pvc-a', pool.volumes);
      if (record !== undefined) pool?.records.put(record);
      expect(await look(lab, next, shape)).toEqual(written);
      await next.service.deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000));
      await next.service.removeArchived('pvc-a', callFor(60_000));
      expect(readdirSync(lab.at('archive'))).toEqual([]);
      lab.expectEmpty(next);
    });
  }
});
