import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { statFileSystem } from '../../src/host/statfs.ts';
import { DiskLab, MiB, directory, volume } from '../support/disk-lab.ts';
import { whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { callFor, type LabProcess } from '../support/volume-lab.ts';

const kinds = ['ext4', 'xfs', 'btrfs'] as const satisfies readonly PoolKind[];

/** Writes until nothing more goes in: large pieces, then small ones, then names, as root, who may take what others may not. */
function fill(path: string): void {
  mkdirSync(join(path, 'names'), { recursive: true });
  const file = openSync(join(path, 'large'), 'a');
  try {
    for (let bytes = 4 << 20; bytes >= 512; bytes = Math.floor(bytes / 4)) {
      const piece = Buffer.alloc(bytes, 'x');
      // what was freed by a commit is found by the next try
      for (let tries = 0; tries < 3; tries += 1) {
        while (writes(() => writeSync(file, piece)));
        execFileSync('sync', ['-f', path]);
      }
    }
  } finally {
    closeSync(file);
  }
  for (let tries = 0; tries < 3; tries += 1) {
    const next = (): string => join(path, 'names', `${'n'.repeat(180)}${randomUUID()}`);
    while (writes(() => closeSync(openSync(next(), 'wx'))));
    execFileSync('sync', ['-f', path]);
  }
}

function writes(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}

const dataOf = (lab: DiskLab, id: string): string => lab.at('volumes', id, 'data');
const create = (process: LabProcess, name: string, parameters: Readonly<Record<string, string>>) =>
  process.service.createVolume(volume(name, 64n * MiB, { parameters }), callFor(60_000));

describe.each(kinds)('a pool filled to the last byte, on %s', (kind) => {
  const why = whyNoScratchPool(kind);
  const keptBytes = (process: LabProcess): bigint => process.pools.open()[0]?.reserveBytes ?? 0n;
  // the kernel frees what was removed a little later
  const expectFree = (lab: DiskLab, bytes: bigint): Promise<void> =>
    expect
      .poll(async () => (await statFileSystem(lab.at())).availableBytes, { timeout: 10_000 })
      .toBeGreaterThan(bytes);

  it.skipIf(why !== '')(
    `can be opened, written records to, and cleaned${why}`,
    async () => {
      await using lab = await DiskLab.make(kind, 512);
      const first = await lab.start({ keepsReserve: true });
      const wholeBytes = keptBytes(first);
      expect(wholeBytes).toBeGreaterThan(2n * MiB);
      await create(first, 'pvc-big', directory);
      for (const name of ['pvc-a', 'pvc-b', 'pvc-c']) await create(first, name, directory);
      await create(first, 'pvc-kept', { ...directory, onDelete: 'archive' });
      await first.service.acknowledge('pvc-kept');
      await lab.stage(first, 'pvc-big');
      await lab.publish(first, 'pvc-big');
      fill(lab.targetOf('pvc-big'));
      await lab.unpublish(first, 'pvc-big');
      await lab.unstage(first, 'pvc-big');
      // what a record needs
      await first.service.acknowledge('pvc-a');
      await lab.stage(first, 'pvc-b');
      await lab.unstage(first, 'pvc-b');
      expect(first.service.wasUsed('pvc-b')).toBe(true);
      await first.service.modifyVolume(
        { volumeId: 'pvc-b', mutableParameters: { onDelete: 'archive' } },
        callFor(),
      );
      await first.stop();

      const next = await lab.start({ keepsReserve: true });
      const { service } = next;
      await service.deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000));
      await service.deleteVolume({ volumeId: 'pvc-kept' }, callFor(60_000));
      expect(readdirSync(lab.at('archive'))).toEqual(['pvc-kept']);
      // btrfs lets one who goes on filling have every block of metadata that comes free
      const refill = (): void => (kind === 'btrfs' ? undefined : fill(dataOf(lab, 'pvc-big')));
      refill();
      await service.recycle({ volumeId: 'pvc-b' }, callFor(60_000));
      refill();
      await service.recycle({ volumeId: 'pvc-big' }, callFor(60_000));
      expect(readdirSync(dataOf(lab, 'pvc-big'))).toEqual([]);
      await expectFree(lab, 200n * MiB);
      // and is held again
      await expect.poll(() => keptBytes(next), { timeout: 5000 }).toBe(wholeBytes);

      fill(dataOf(lab, 'pvc-big'));
      await service.deleteVolume({ volumeId: 'pvc-big' }, callFor(60_000));
      await expectFree(lab, 200n * MiB);
      await create(next, 'pvc-new', directory);
    },
    120_000,
  );

  it.skipIf(why !== '')(
    `by thin images, can be cleaned of them${why}`,
    async () => {
      await using lab = await DiskLab.make(kind, 512);
      const process = await lab.start({ keepsReserve: true });
      mkdirSync(lab.at('others', 'names'), { recursive: true });
      const parameters = { backend: 'loopback' };
      for (const name of ['pvc-a', 'pvc-b']) {
        const request = volume(name, 400n * MiB, { parameters });
        await process.service.createVolume(request, callFor(60_000));
        await process.service.acknowledge(name);
      }
      for (const name of ['pvc-a', 'pvc-b']) {
        const file = openSync(lab.at('volumes', name, 'image'), 'r+');
        const piece = Buffer.alloc(1 << 20, 'x');
        let at = 0;
        while (at < 400 << 20 && writes(() => writeSync(file, piece, 0, piece.length, at))) at += 1 << 20;
        closeSync(file);
      }
      fill(lab.at('others'));
      await process.service.deleteVolume({ volumeId: 'pvc-b' }, callFor(60_000));
      await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor(60_000));
      await expectFree(lab, 300n * MiB);
    },
    120_000,
  );
});
