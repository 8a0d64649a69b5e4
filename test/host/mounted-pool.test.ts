import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ScratchPool, whyNoScratchPool, type PoolKind } from '../support/scratch-pool.ts';
import { VolumeLab, type LabProcess } from '../support/volume-lab.ts';

const why = whyNoScratchPool();

/** Bind mounts stand for a container's view: there every pool path is one. */
describe.skipIf(why !== '')(`a pool that has to be mounted${why}`, () => {
  let lab: VolumeLab;
  let disk: ScratchPool;
  const bound: string[] = [];
  beforeEach(async () => {
    lab = await VolumeLab.make();
  });
  afterEach(async () => {
    await lab.clear();
    for (const path of bound.splice(0).toReversed()) execFileSync('umount', [path]);
    await disk.remove();
  });

  const start = (path: string): Promise<LabProcess> =>
    lab.start({ pools: [lab.poolConfig('one', { path, mustBeMounted: true })], realMounts: true });
  const bind = (path: string): string => {
    const target = mkdtempSync(join(disk.basePath, 'container-'));
    execFileSync('mount', ['--bind', path, target]);
    bound.push(target);
    return target;
  };
  const expectRefused = (process: LabProcess, path: string, folder: string, kind: string): void => {
    expect(process.pools.open()).toEqual([]);
    const [trouble] = process.pools.unavailable();
    expect(trouble?.why).toMatch(`${path} is no mounted file system of its own, it is the folder `);
    expect(trouble?.why).toMatch(`${folder} on the ${kind} of `);
    expect(trouble?.why).toMatch(`; mount the disk at ${path}, or drop mounted=true`);
  };

  it.each<PoolKind>(['ext4', 'xfs', 'btrfs'])('is opened at the mount point of an %s', async (kind) => {
    disk = ScratchPool.make(kind);
    const { pools } = await start(disk.path);
    expect(pools.unavailable()).toEqual([]);
    expect(pools.open()).toHaveLength(1);
  });

  it('is opened where a container has the file system bound in, and not where it has a folder of it', async () => {
    disk = ScratchPool.make('ext4', 64);
    const folder = disk.at('loam');
    mkdirSync(folder);
    const boundFolder = bind(folder);
    for (const path of [folder, boundFolder]) {
      const process = await start(path);
      expectRefused(process, path, '/loam', 'ext4');
      expect(readdirSync(path)).toEqual([]);
      await process.stop();
    }
    execFileSync('umount', [bound.pop() ?? '']);
    execFileSync('rmdir', [folder]);
    expect((await start(bind(disk.path))).pools.open()).toHaveLength(1);
  });

  it('never is what kubelet made in its disk’s stead, even where that was a pool once', async () => {
    disk = ScratchPool.make('plain');
    const path = bind(disk.path);
    const before = await lab.start({ pools: [lab.poolConfig('one', { path })], realMounts: true });
    expect(before.pools.open()).toHaveLength(1);
    await before.stop();
    const process = await start(path);
    expect(process.pools.open()).toEqual([]);
    expect(process.pools.unavailable()[0]?.why).toMatch(/is no mounted file system of its own/);
  });

  it('is a subvolume of a btrfs too, mounted, bound or just there, and no folder of one', async () => {
    disk = ScratchPool.make('btrfs');
    const subvolume = disk.at('sub');
    execFileSync('btrfs', ['subvolume', 'create', subvolume], { stdio: 'ignore' });
    const folder = join(subvolume, 'folder');
    mkdirSync(folder);
    const mounted = join(disk.basePath, 'mounted');
    mkdirSync(mounted);
    const boundFolder = bind(folder);
    for (const path of [folder, boundFolder]) {
      const process = await start(path);
      expectRefused(process, path, '/sub/folder', 'btrfs');
      await process.stop();
    }
    execFileSync('umount', [bound.pop() ?? '']);
    execFileSync('rmdir', [folder]);
    execFileSync('mount', ['-o', 'subvol=sub', deviceOf(disk.path), mounted]);
    bound.push(mounted);
    for (const path of [subvolume, bind(subvolume), mounted]) {
      const process = await start(path);
      expect(process.pools.unavailable()).toEqual([]);
      await process.stop();
      execFileSync('rm', ['-r', ...readdirSync(path).map((name) => join(path, name))]);
      execFileSync('rm', ['-r', join(lab.root, 'state')]);
    }
  });

  it('is opened in a container when its disk comes to the node', async () => {
    disk = ScratchPool.make('ext4', 64);
    await disk.unmount();
    // the node's mounts are shared, a container's pool is a slave of them
    execFileSync('mount', ['--bind', disk.basePath, disk.basePath]);
    bound.push(disk.basePath);
    execFileSync('mount', ['--make-shared', disk.basePath]);
    const path = bind(disk.path);
    execFileSync('mount', ['--make-slave', path]);
    const process = await start(path);
    expect(process.pools.unavailable()[0]?.why).toMatch(/is no mounted file system of its own/);
    disk.mount();
    await expect.poll(() => process.pools.usable(), { timeout: 5000 }).toHaveLength(1);
    expect(readdirSync(disk.path)).toContain('pool.json');
    await process.stop();
    await disk.unmount();
    expect(readdirSync(path)).toEqual([]);
  });

  it('is lost with its disk and comes back with it, and the folder below stays empty', async () => {
    disk = ScratchPool.make('ext4', 64);
    const { pools } = await start(disk.path);
    disk.unmountLazily();
    expect(await pools.usable()).toEqual([]);
    expect(pools.unavailable()[0]?.why).toMatch(/is no mounted file system of its own.*mount the disk at/);
    expect(readdirSync(disk.path)).toEqual([]);
    disk.mount();
    await expect.poll(() => pools.usable(), { timeout: 5000 }).toHaveLength(1);
  });

  function deviceOf(path: string): string {
    return execFileSync('findmnt', ['--noheadings', '--output', 'SOURCE', path], {
      encoding: 'utf8',
    }).trim();
  }
});
