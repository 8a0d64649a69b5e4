import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ContentSource } from '../../src/model/volume.ts';
import { DiskLab, MiB, volume } from '../support/disk-lab.ts';
import { refusal } from '../support/refusal.ts';
import { whyNoScratchPool } from '../support/scratch-pool.ts';
import { callFor, type LabProcess } from '../support/volume-lab.ts';

const why = whyNoScratchPool('xfs');
const image = { backend: 'loopback' };
const ofVolume = { kind: 'volume', volumeId: 'pvc-a' } as const;

/** A copy of `pvc-a` of this size. */
const copy = (sizeBytes = 64n * MiB, name = 'pvc-b', contentSource: ContentSource = ofVolume) =>
  volume(name, sizeBytes, { parameters: image, contentSource });

async function withData(lab: DiskLab): Promise<LabProcess> {
  const process = await lab.start();
  await process.service.createVolume(volume('pvc-a', 64n * MiB, { parameters: image }), callFor());
  await lab.stage(process, 'pvc-a');
  writeFileSync(join(lab.stagingOf('pvc-a'), 'data'), Buffer.alloc(16 << 20, 'precious'));
  return process;
}

const contentAt = (lab: DiskLab, id: string) =>
  readFileSync(join(lab.stagingOf(id), 'data'), 'utf8').slice(0, 8);
const totalAt = (lab: DiskLab, id: string) => {
  const { blocks, bsize } = statfsSync(lab.stagingOf(id));
  return blocks * bsize;
};

async function removeAll(lab: DiskLab, process: LabProcess, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    await lab.unstage(process, id);
    await process.service.deleteVolume({ volumeId: id }, callFor());
  }
  lab.expectEmpty(process);
}

describe.skipIf(why !== '')(`volumes from sources on a real disk${why}`, () => {
  it('clones a claim in use while it is written, larger, and each goes its own way', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await withData(lab);
    const writer = spawn('sh', ['-c', 'while :; do date >> log; sync log; done'], {
      cwd: lab.stagingOf('pvc-a'),
      stdio: 'ignore',
    });
    try {
      const made = await process.service.createVolume(copy(96n * MiB), callFor());
      expect(made).toMatchObject({ capacityBytes: 96n * MiB, contentSource: ofVolume });
    } finally {
      writer.kill();
      await once(writer, 'exit');
    }
    await lab.stage(process, 'pvc-b');
    expect(contentAt(lab, 'pvc-b')).toBe('precious');
    expect(totalAt(lab, 'pvc-b')).toBeGreaterThan(totalAt(lab, 'pvc-a') + 20 * 2 ** 20);
    writeFileSync(join(lab.stagingOf('pvc-b'), 'data'), 'changed');
    expect(contentAt(lab, 'pvc-a')).toBe('precious');
    await removeAll(lab, process, 'pvc-a', 'pvc-b');
  });

  it('restores a snapshot after its source has changed', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await withData(lab);
    const wish = { name: 'one', sourceVolumeId: 'pvc-a', parameters: {} };
    const { snapshotId } = await process.service.createSnapshot(wish, callFor());
    writeFileSync(join(lab.stagingOf('pvc-a'), 'data'), 'changed');
    const contentSource = { kind: 'snapshot', snapshotId } as const;
    await process.service.createVolume(copy(64n * MiB, 'pvc-b', contentSource), callFor());
    await lab.stage(process, 'pvc-b');
    expect(contentAt(lab, 'pvc-b')).toBe('precious');
    await process.service.deleteSnapshot(snapshotId, callFor());
    await removeAll(lab, process, 'pvc-a', 'pvc-b');
  });

  it('copies in the background where blocks cannot be shared, sparse as the source is', async () => {
    await using lab = await DiskLab.make('ext4', 256);
    const process = await withData(lab);
    // an image in use cannot be copied as of one moment here
    expect(await refusal(process.service.createVolume(copy(), callFor()))).toMatchObject({
      reason: 'not-consistent',
    });
    await lab.unstage(process, 'pvc-a');
    let made;
    for (let tries = 0; made === undefined && tries < 500; tries += 1) {
      made = await process.service.createVolume(copy(), callFor(40)).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ABORTED' });
        return undefined;
      });
    }
    expect(made).toMatchObject({ volumeId: 'pvc-b' });
    expect(statSync(lab.at('volumes/pvc-b/image')).blocks * 512).toBeLessThan(40 << 20);
    await lab.stage(process, 'pvc-b');
    expect(contentAt(lab, 'pvc-b')).toBe('precious');
    await removeAll(lab, process, 'pvc-a', 'pvc-b');
  });

  it('leaves nothing of a copy in whose middle the disk fills up', async () => {
    await using lab = await DiskLab.make('ext4', 96);
    const process = await withData(lab);
    await lab.unstage(process, 'pvc-a');
    expect(() => writeFileSync(lab.at('filler'), Buffer.alloc(96 << 20, 'x'))).toThrow(/ENOSPC/);
    execFileSync('truncate', ['--size=-6M', lab.at('filler')]);
    expect(await refusal(process.service.createVolume(copy(), callFor()))).toMatchObject({
      reason: 'out-of-space',
      code: 'RESOURCE_EXHAUSTED',
    });
    execFileSync('rm', [lab.at('filler')]);
    await process.service.createVolume(copy(), callFor());
    await removeAll(lab, process, 'pvc-a', 'pvc-b');
  });
});

describe.skipIf(why !== '')(`a volume that changes on a real disk${why}`, () => {
  it.each(['ext4', 'xfs'] as const)('grows under its pod, or at the next stage (%s)', async (fsType) => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await lab.start();
    const parameters = { ...image, 'csi.storage.k8s.io/fstype': fsType };
    await process.service.createVolume(volume('pvc-a', 320n * MiB, { parameters }), callFor());
    await lab.stage(process, 'pvc-a');
    const before = totalAt(lab, 'pvc-a');
    const capacityRange = { requiredBytes: 400n * MiB, limitBytes: 0n };
    const grown = await process.service.expandVolume({ volumeId: 'pvc-a', capacityRange }, callFor());
    expect(grown.capacityBytes).toBe(400n * MiB);
    if (grown.nodeExpansionRequired) {
      const node = { volumeId: 'pvc-a', volumePath: lab.stagingOf('pvc-a'), requiredBytes: 400n * MiB };
      // without CAP_SYS_RESOURCE ext4 grows unmounted only
      expect(await refusal(process.node.expand(node, callFor()))).toMatchObject({
        reason: 'cannot-grow-now',
      });
      await lab.unstage(process, 'pvc-a');
      await lab.stage(process, 'pvc-a');
    }
    expect(totalAt(lab, 'pvc-a')).toBeGreaterThan(before + 60 * 2 ** 20);
    await removeAll(lab, process, 'pvc-a');
  });

  it('takes its blocks when it becomes thick', async () => {
    await using lab = await DiskLab.make('xfs', 512);
    const process = await withData(lab);
    const wish = { volumeId: 'pvc-a', mutableParameters: { provisioning: 'thick' } };
    await process.service.modifyVolume(wish, callFor());
    expect(statSync(lab.at('volumes/pvc-a/image')).blocks * 512).toBeGreaterThanOrEqual(64 << 20);
    expect(contentAt(lab, 'pvc-a')).toBe('precious');
    await removeAll(lab, process, 'pvc-a');
  });
});
