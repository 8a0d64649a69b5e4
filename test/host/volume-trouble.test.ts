import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { attachedDevices } from '../../src/host/loop-devices.ts';
import type { FsType, VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';

const why = whyNoScratchPool();
const call = { signal: AbortSignal.timeout(120_000) };
const MiB = 1n << 20n;

const image = (fsType: FsType, sizeBytes: bigint): VolumeSpec => ({
  id: volumeIdOf('pvc-1'),
  backend: 'loopback',
  accessType: 'mount',
  fsType,
  sizeBytes,
  provisioning: 'thin',
  limit: 'enforced',
});

describe.skipIf(why !== '')(`volumes in trouble${why}`, () => {
  let pool: ScratchPool | undefined;
  const backend = new LoopbackBackend();
  const prepare = (kind: PoolKind, sizeMiB?: number): { path: string; stagingPath: string } => {
    pool = ScratchPool.make(kind, sizeMiB);
    const path = pool.at('volumes/pvc-1');
    mkdirSync(path, { recursive: true });
    return { path, stagingPath: join(pool.basePath, 'staging') };
  };
  afterEach(async () => {
    try {
      await expect.poll(() => pool?.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await pool?.remove();
    }
  });

  it.each(['ext4', 'xfs', 'btrfs'] as const)(
    'say out of space when a full pool stops mkfs.%s, and leave nothing',
    async (fsType) => {
      const place = prepare('ext4', 16);
      const filler = join(place.path, '../filler');
      expect(() => writeFileSync(filler, Buffer.alloc(20 << 20))).toThrow(/ENOSPC/);
      await expect(backend.create(place, image(fsType, 512n * MiB), call)).rejects.toMatchObject({
        reason: 'out-of-space',
      });
      expect(readdirSync(place.path)).toEqual([]);
    },
  );

  it('show a pool that became read-only', async () => {
    const place = prepare('ext4', 64);
    const spec = { ...image('ext4', 16n * MiB), backend: 'directory', limit: 'advisory' } as const;
    const directories = new DirectoryBackend();
    await directories.create(place, spec, call);
    await backend.create(place, image('ext4', 16n * MiB), call);
    execFileSync('mount', ['-o', 'remount,ro', pool?.path ?? '']);
    const conditions = [
      await directories.condition(place, spec),
      await backend.condition(place, image('ext4', 16n * MiB)),
    ];
    for (const { abnormal, message } of conditions) {
      expect(abnormal).toBe(true);
      expect(message).toContain('is read-only');
    }
    expect(await backend.probe(place, call.signal)).toMatchObject({ usable: false });
    expect(await directories.probe(place, call.signal)).toMatchObject({ usable: false });
    await expect(
      backend.create({ path: join(place.path, '..') }, image('ext4', 16n * MiB), call),
    ).rejects.toThrow(/read-only/i);
  });

  it('show the errors that ext4 has recorded, and stop writing', async () => {
    const place = prepare('plain');
    const spec = image('ext4', 16n * MiB);
    await backend.create(place, spec, call);
    await backend.stage(place, spec, { path: place.stagingPath, readonly: false, mountFlags: [] }, call);
    expect(await backend.condition(place, spec)).toMatchObject({ abnormal: false });
    const device = attachedDevices().find(({ backingFile }) => backingFile === join(place.path, 'image'));
    writeFileSync(`/sys/fs/ext4/${basename(device?.path ?? '')}/trigger_fs_error`, 'test');
    const condition = await backend.condition(place, spec);
    expect(condition).toMatchObject({
      abnormal: true,
      message: expect.stringContaining('1 errors') as unknown,
    });
    expect(() => writeFileSync(join(place.stagingPath, 'file'), '')).toThrow(/EROFS/);
    await backend.unstage(place, spec, place.stagingPath, call);
  });

  it('cannot be mounted when they are damaged, and say so without a repair of their own', async () => {
    const place = prepare('plain');
    const spec = image('xfs', 300n * MiB);
    await backend.create(place, spec, call);
    execFileSync(
      'dd',
      ['if=/dev/zero', `of=${place.path}/image`, 'bs=1', 'seek=128', 'count=8', 'conv=notrunc'],
      { stdio: 'ignore' },
    );
    const staging = { path: place.stagingPath, readonly: false, mountFlags: [] };
    await expect(backend.stage(place, spec, staging, call)).rejects.toMatchObject({ reason: 'data-loss' });
    expect(await backend.users(place, spec)).toEqual([]);
  });

  it('finish a btrfs whose first attempt a crash left attached', async () => {
    const place = prepare('plain');
    const halfPath = join(place.path, 'image.new');
    execFileSync('truncate', ['--size=128M', halfPath]);
    execFileSync('losetup', ['--find', halfPath]);
    await backend.create(place, image('btrfs', 128n * MiB), call);
    expect(readdirSync(place.path)).toEqual(['image']);
    expect(attachedDevices().filter(({ backingFile }) => backingFile.startsWith(place.path))).toEqual([]);
  });

  it('mount a copy of xfs beside its original when told nouuid', async () => {
    const place = prepare('plain');
    const spec = image('xfs', 300n * MiB);
    const copy = join(place.path, '../pvc-2');
    mkdirSync(copy);
    await backend.create(place, spec, call);
    copyFileSync(join(place.path, 'image'), join(copy, 'image'));
    const stagings = [place.stagingPath, `${place.stagingPath}-2`].map((path) => ({
      path,
      readonly: false,
      mountFlags: ['nouuid'],
    }));
    const [first, second] = stagings;
    if (first === undefined || second === undefined) return;
    await backend.stage(place, spec, first, call);
    await backend.stage({ path: copy }, spec, second, call);
    await backend.unstage(place, spec, first.path, call);
    await backend.unstage({ path: copy }, spec, second.path, call);
  });
});
