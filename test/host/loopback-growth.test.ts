import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { readSuperblock } from '../../src/host/superblock.ts';
import type { FsType, VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { expectUnused, makeSubject, type Subject } from '../conformance/backend-subject.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool('xfs');
const MiB = 1n << 20n;
/** The kernel lets ext4 grow while mounted only who may pass its limits. */
const canGrowMountedExt4 = /^CapEff:\s+[0-9a-f]*([0-9a-f])[0-9a-f]{6}$/m.exec(
  readFileSync('/proc/self/status', 'utf8'),
);
const hasSysResource = (Number.parseInt(canGrowMountedExt4?.[1] ?? '0', 16) & 1) === 1;
const lacksSysResource = hasSysResource ? ' (skipped: this process may do it)' : '';

describe.skipIf(why !== '')(`growing a loopback volume${why}`, () => {
  let pool: ScratchPool;
  let backend: LoopbackBackend;
  beforeEach(() => {
    pool = ScratchPool.make('xfs', 2048);
    backend = new LoopbackBackend({ poolPaths: [pool.path] });
  });
  afterEach(async () => {
    try {
      await expect.poll(() => pool.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await pool.remove();
    }
  });

  const volumeOf = (kind: FsType | 'block', change: Partial<VolumeSpec> = {}): Subject =>
    makeSubject(pool, backend, {
      id: volumeIdOf('pvc-1'),
      backend: 'loopback',
      provisioning: 'thin',
      limit: 'enforced',
      sizeBytes: 400n * MiB,
      ...(kind === 'block' ? { accessType: 'block' } : { accessType: 'mount', fsType: kind }),
      ...change,
    });
  const grown = (volume: Subject, sizeBytes: bigint): VolumeSpec => ({ ...volume.spec, sizeBytes });
  const grow = (volume: Subject, spec: VolumeSpec) => backend.grow(volume.place, spec, volume.call);
  const stage = (volume: Subject, spec: VolumeSpec, readonly = false) =>
    backend.stage(volume.place, spec, { path: volume.stagingPath, readonly, mountFlags: [] }, volume.call);
  /** What `df` shows. */
  const shown = (path: string): bigint => {
    const { blocks, bsize } = statfsSync(path, { bigint: true });
    return blocks * bsize;
  };
  const deviceBytes = (volume: Subject): bigint => {
    const devices = execFileSync('losetup', ['--noheadings', '--output', 'NAME', '-j', volume.dataPath], {
      encoding: 'utf8',
    });
    return BigInt(execFileSync('blockdev', ['--getsize64', devices.trim()], { encoding: 'utf8' }));
  };

  it.each(['xfs', 'btrfs'] as const)('has a mounted %s take the new size at once', async (fsType) => {
    const volume = volumeOf(fsType);
    await volume.create();
    await volume.stage();
    await volume.publish();
    writeFileSync(join(volume.targetPath, 'file'), 'kept');
    const spec = grown(volume, 900n * MiB);
    for (let repeat = 0; repeat < 2; repeat += 1) {
      expect(await grow(volume, spec)).toEqual({ isMountBehind: false });
      expect(statSync(volume.dataPath, { bigint: true }).size).toBe(spec.sizeBytes);
      expect(shown(volume.targetPath)).toBeGreaterThan(800n * MiB);
    }
    await backend.growMounted(volume.place, spec, volume.targetPath, volume.call);
    expect(readFileSync(join(volume.targetPath, 'file'), 'utf8')).toBe('kept');
    await volume.unpublish();
    await volume.unstage();
  });

  it.skipIf(hasSysResource)(
    `says of a mounted ext4 that it grows with the next mount, and has it do so${lacksSysResource}`,
    async () => {
      const volume = volumeOf('ext4');
      await volume.create();
      await volume.stage();
      writeFileSync(join(volume.stagingPath, 'file'), 'kept');
      const spec = grown(volume, 900n * MiB);
      expect(await grow(volume, spec)).toEqual({ isMountBehind: true });
      expect(shown(volume.stagingPath)).toBeLessThan(400n * MiB);
      await expect(
        backend.growMounted(volume.place, spec, volume.stagingPath, volume.call),
      ).rejects.toMatchObject({
        reason: 'cannot-grow-now',
        message: expect.stringMatching(/CAP_SYS_RESOURCE.*restart its pods/) as string,
      });
      await volume.unstage();
      await expectUnused(volume.users);
      await stage(volume, spec);
      expect(shown(volume.stagingPath)).toBeGreaterThan(800n * MiB);
      expect(readFileSync(join(volume.stagingPath, 'file'), 'utf8')).toBe('kept');
      await volume.unstage();
    },
  );

  it.skipIf(!hasSysResource)(
    `has a mounted ext4 take the new size at once${hasSysResource ? '' : ' (skipped: needs CAP_SYS_RESOURCE)'}`,
    async () => {
      const volume = volumeOf('ext4');
      await volume.create();
      await volume.stage();
      expect(await grow(volume, grown(volume, 900n * MiB))).toEqual({ isMountBehind: false });
      expect(shown(volume.stagingPath)).toBeGreaterThan(800n * MiB);
      await volume.unstage();
    },
  );

  it.each([
    ['ext4', 1n << 40n],
    ['xfs', 100n << 30n],
    ['btrfs', 1n << 40n],
  ] as const)(
    'has an unmounted %s take a size far beyond its first at the next stage',
    async (fsType, to) => {
      const volume = volumeOf(fsType);
      await volume.create();
      const spec = grown(volume, to);
      expect(await grow(volume, spec)).toEqual({ isMountBehind: false });
      await stage(volume, spec);
      expect(shown(volume.stagingPath)).toBeGreaterThan((to / 10n) * 9n);
      await stage(volume, spec);
      await volume.unstage();
      await expectUnused(volume.users);
      execFileSync(...checkOf(fsType, volume.dataPath), { stdio: 'pipe' });
    },
  );

  it.each([
    ['ext4', 400n * MiB + 4096n],
    ['ext4', 500n * MiB + 12_288n],
    ['xfs', 401n * MiB + 4096n],
    ['xfs', 400n * MiB + 131_072n],
    ['btrfs', 400n * MiB + 4096n],
  ] as const)(
    'mounts %s on an odd size, %d bytes, and looks for room only once',
    async (fsType, sizeBytes) => {
      const volume = volumeOf(fsType);
      await volume.create();
      const spec = grown(volume, sizeBytes);
      await grow(volume, spec);
      await stage(volume, spec);
      await volume.unstage();
      await expectUnused(volume.users);
      const superblock = await readSuperblock(volume.dataPath, fsType);
      expect(superblock.sizeBytes).toBeLessThanOrEqual(sizeBytes);
      expect(superblock.sizeBytes + superblock.granuleBytes).toBeGreaterThan(sizeBytes);
    },
  );

  it('does not grow the file system of a read-only stage', async () => {
    const volume = volumeOf('xfs');
    await volume.create();
    const spec = grown(volume, 900n * MiB);
    await grow(volume, spec);
    await stage(volume, spec, true);
    expect(shown(volume.stagingPath)).toBeLessThan(400n * MiB);
    expect(await grow(volume, spec)).toEqual({ isMountBehind: true });
    await expect(
      backend.growMounted(volume.place, spec, volume.stagingPath, volume.call),
    ).rejects.toMatchObject({ reason: 'cannot-grow-now' });
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('tells the devices of a block volume, also one that a crash left behind the image', async () => {
    const volume = volumeOf('block');
    await volume.create();
    await volume.stage();
    const spec = grown(volume, 500n * MiB);
    truncateSync(volume.dataPath, Number(spec.sizeBytes));
    expect(deviceBytes(volume)).toBe(volume.spec.sizeBytes);
    expect(await grow(volume, spec)).toEqual({ isMountBehind: false });
    expect(deviceBytes(volume)).toBe(spec.sizeBytes);
    truncateSync(volume.dataPath, Number(600n * MiB));
    await stage(volume, grown(volume, 600n * MiB));
    expect(deviceBytes(volume)).toBe(600n * MiB);
    await volume.unstage();
    await expectUnused(volume.users);
  });

  it('never shortens an image', async () => {
    const volume = volumeOf('ext4');
    await volume.create();
    await grow(volume, grown(volume, 64n * MiB));
    expect(statSync(volume.dataPath, { bigint: true }).size).toBe(volume.spec.sizeBytes);
  });

  it('allocates what a thick image is to have, and leaves it as it was where the pool has not that much', async () => {
    const volume = volumeOf('ext4', { provisioning: 'thick', sizeBytes: 64n * MiB });
    await volume.create();
    await grow(volume, grown(volume, 128n * MiB));
    const { size, blocks } = statSync(volume.dataPath, { bigint: true });
    expect(size).toBe(128n * MiB);
    expect(blocks * 512n).toBeGreaterThanOrEqual(size);
    for (const sizeBytes of [3000n * MiB, 1n << 45n]) {
      await expect(grow(volume, grown(volume, sizeBytes))).rejects.toMatchObject({ reason: 'out-of-space' });
      expect(statSync(volume.dataPath, { bigint: true })).toMatchObject({ size, blocks });
    }
    expect(readdirSync(volume.place.path)).toEqual(['image']);
  });

  it('allocates a thin image that becomes thick, and what it shares with a snapshot', async () => {
    const volume = volumeOf('ext4', { sizeBytes: 64n * MiB });
    await volume.create();
    const snapshot = makeSubject(pool, backend, { ...volume.spec, id: volumeIdOf('snap-1') });
    const source = { place: volume.place, spec: volume.spec, isLive: false };
    await backend.capture(source, snapshot.place, { allowsLoose: false }, volume.call);
    const to: VolumeSpec = { ...volume.spec, provisioning: 'thick' };
    await backend.reshape(volume.place, volume.spec, to, volume.call);
    const { size, blocks } = statSync(volume.dataPath, { bigint: true });
    expect(blocks * 512n).toBeGreaterThanOrEqual(size);
    const extents = execFileSync('xfs_io', ['-r', '-c', 'fiemap -v', volume.dataPath], { encoding: 'utf8' });
    expect(extents).not.toMatch(/0x[0-9a-f]*[2367abef][0-9a-f]{3}\b/);
  });

  it('says that the image is gone instead of making a new one', async () => {
    const volume = volumeOf('ext4');
    await expect(grow(volume, volume.spec)).rejects.toMatchObject({ reason: 'data-loss' });
  });
});

function checkOf(fsType: FsType, image: string): [string, string[]] {
  if (fsType === 'ext4') return ['e2fsck', ['-f', '-n', image]];
  if (fsType === 'xfs') return ['xfs_repair', ['-n', '-f', image]];
  return ['btrfs', ['check', '--readonly', image]];
}
