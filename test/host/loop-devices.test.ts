import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { growUnmountedExt4 } from '../../src/host/grow-file-system.ts';
import { createImage } from '../../src/host/images.ts';
import { attach, detach, devicesOf } from '../../src/host/loop-devices.ts';
import type { VolumeSpec } from '../../src/model/volume.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import { failureOf } from '../support/failure-of.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool();
const signal = AbortSignal.timeout(60_000);
const writable = { directIo: true, readonly: false, signal };

/** A /dev as containers have it: made once, so that later loop devices do not appear in it. */
const staticDev = `mount -t tmpfs tmpfs "$1" &&
  mknod "$1/null" c 1 3 && mknod "$1/loop-control" c 10 237 && mount --move "$1" /dev && shift && exec "$@"`;

describe.skipIf(why !== '')(`loop devices${why}`, () => {
  let pool: ScratchPool;
  let image: string;
  beforeEach(async () => {
    pool = ScratchPool.make('plain');
    mkdirSync(pool.at('v1'));
    image = pool.at('v1/image');
    await createImage(image, { sizeBytes: 1n << 20n, thick: false, signal });
  });
  afterEach(async () => {
    try {
      await expect.poll(() => pool.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await pool.remove();
    }
  });

  it('are attached once for each access, and tell how they read and write', async () => {
    const first = await attach(image, writable);
    expect(first).toMatchObject({ backingFile: image, readonly: false, goesWhenUnused: false });
    expect(await attach(image, writable)).toEqual(first);
    const direct = readFileSync(`/sys/block/${first.path.slice(5)}/loop/dio`, 'utf8').trim() === '1';
    expect(first.directIo).toBe(direct);
    const second = await attach(image, { ...writable, readonly: true });
    expect(second.path).not.toBe(first.path);
    expect(second.readonly).toBe(true);
    for (const { path } of [first, second, second]) await detach(path, signal);
    expect(await devicesOf(image, signal)).toEqual([]);
  });

  it('are gone when they were let go of, although somebody was just looking at one', async () => {
    const device = await attach(image, writable);
    const look = await open(device.path, 'r');
    setTimeout(() => void look.close(), 150);
    await detach(device.path, signal);
    expect(await devicesOf(image, signal)).toEqual([]);
  });

  it('are not attached to by way of one that is about to go', async () => {
    const going = await attach(image, writable);
    const look = await open(going.path, 'r');
    execFileSync('losetup', ['--detach', going.path]);
    setTimeout(() => void look.close(), 150);
    const device = await attach(image, writable);
    expect(device.goesWhenUnused).toBe(false);
    await look.close();
    expect((await devicesOf(image, signal)).map(({ path }) => path)).toEqual([device.path]);
    await detach(device.path, signal);
  });

  it('are left alone where their number is another image’s by now', async () => {
    const device = await attach(image, writable);
    await detach(device.path, signal, `${image}-before`);
    expect(await devicesOf(image, signal)).toEqual([device]);
    await detach(device.path, signal, device.backingFile);
    expect(await devicesOf(image, signal)).toEqual([]);
  });

  it('that went under the hands of a check say nothing about the file system', async () => {
    const { path } = await attach(image, writable);
    await detach(path, signal);
    expect(await failureOf(growUnmountedExt4(path))).toMatchObject({ reason: 'host-failure' });
  });

  it('of a half-made image are let go of, so that its blocks go with it', async () => {
    const unfinished = `${image}.new`;
    await createImage(unfinished, { sizeBytes: 1n << 20n, thick: false, signal });
    await attach(unfinished, writable);
    const spec: VolumeSpec = {
      id: volumeIdOf('v1'),
      backend: 'loopback',
      accessType: 'mount',
      fsType: 'xfs',
      sizeBytes: 1n << 20n,
      provisioning: 'thin',
      limit: 'enforced',
    };
    await new LoopbackBackend().release({ path: pool.at('v1') }, spec, signal);
    expect(await devicesOf(unfinished, signal)).toEqual([]);
  });

  it('are attached where direct I/O is not to be had', async () => {
    const place = join(pool.basePath, 'tmpfs/v1');
    mkdirSync(join(pool.basePath, 'tmpfs'));
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(pool.basePath, 'tmpfs')]);
    mkdirSync(place);
    const inMemory = join(place, 'image');
    await createImage(inMemory, { sizeBytes: 1n << 20n, thick: false, signal });
    const device = await attach(inMemory, writable);
    await detach(device.path, signal);
    await expect.poll(() => devicesOf(inMemory, signal), { timeout: 5000 }).toEqual([]);
    execFileSync('umount', [join(pool.basePath, 'tmpfs')]);
  });

  it('are found after their image was renamed, and not for a new image of the old name', async () => {
    const device = await attach(image, writable);
    mkdirSync(pool.at('trash'));
    renameSync(pool.at('v1'), pool.at('trash/v1.17'));
    const moved = pool.at('trash/v1.17/image');
    expect((await devicesOf(moved, signal)).map(({ path }) => path)).toEqual([device.path]);
    mkdirSync(pool.at('v1'));
    writeFileSync(image, Buffer.alloc(4096));
    expect(await devicesOf(image, signal)).toEqual([]);
    await detach(device.path, signal);
  });

  it('are found when their image was removed, until a new one has its name', async () => {
    const device = await attach(image, writable);
    const kept = join(pool.basePath, 'kept');
    linkSync(image, kept);
    rmSync(image);
    expect((await devicesOf(image, signal)).map(({ path }) => path)).toEqual([device.path]);
    writeFileSync(image, Buffer.alloc(4096));
    expect(await devicesOf(image, signal)).toEqual([]);
    await detach(device.path, signal);
  });

  it('are found through another name of the pool, as after a restart in a new container', async () => {
    const alias = join(pool.basePath, 'alias');
    mkdirSync(alias);
    const device = await attach(image, writable);
    execFileSync('mount', ['--bind', pool.path, alias]);
    expect((await devicesOf(join(alias, 'v1/image'), signal)).map(({ path }) => path)).toEqual([device.path]);
    execFileSync('umount', [alias]);
    await detach(device.path, signal);
  });

  it('get their nodes made in a /dev that does not make them itself', () => {
    const dev = join(pool.basePath, 'dev');
    mkdirSync(dev);
    const program = join(import.meta.dirname, 'programs/attach-image.ts');
    const command = ['sh', dev, process.execPath, '--no-warnings', program, image];
    const output = execFileSync('unshare', ['--mount', 'sh', '-c', staticDev, ...command], {
      encoding: 'utf8',
    });
    expect(JSON.parse(output)).toMatchObject({ isThere: true, left: 0 });
  });

  it('say what the kernel said when they cannot be had', async () => {
    await expect(attach(pool.at('v1/none'), writable)).rejects.toThrow(
      /loop devices cannot be attached: losetup failed .*No such file/,
    );
  });
});
