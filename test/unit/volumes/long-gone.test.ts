import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lab, process, publish, reason, restart, stage, unpublish, unstage, useNodeLab } from './node-lab.ts';

useNodeLab();

describe('what kubelet asks for things long gone', () => {
  test('after a reboot is success', async () => {
    await unpublish();
    await unstage();
    await unpublish(lab.kubeletPath('x', 'y', 'z'), 'nobody');
    await unstage(lab.kubeletPath('x', 'y', 'z'), 'nobody');
    await unpublish(lab.kubeletPath('pod-9'), 'Not An Id');
  });

  test('while its pool is away takes mounts, devices and targets away all the same, without a word to the pool', async () => {
    await stage();
    await publish();
    await rename(lab.poolPath(), `${lab.poolPath()}.away`);
    await mkdir(lab.poolPath());
    expect(await process.pools.usable()).toEqual([]);
    await unpublish();
    await unstage();
    await unstage();
    expect(lab.mounts.at(join(lab.poolPath(), 'volumes/a/data'))).toEqual([]);
    expect(lab.directory.detached).toEqual(['a']);
    expect(await readdir(lab.poolPath())).toEqual([]);
    await rm(lab.poolPath(), { recursive: true });
    await rename(`${lab.poolPath()}.away`, lab.poolPath());
  });

  test('is done though the record was damaged meanwhile', async () => {
    await stage();
    await publish();
    await restart(() => writeFile(join(lab.poolPath(), 'volumes/a/volume.json'), '{"schema":1,'));
    await expect(publish()).rejects.toMatchObject(reason('data-loss'));
    await unpublish();
    await unstage();
    expect(lab.mounts.at(join(lab.poolPath(), 'volumes/a/data'))).toEqual([]);
    expect(process.environment.publications.isStaged('a')).toBe(false);
    expect(existsSync(join(lab.poolPath(), 'volumes/a/data'))).toBe(true);
  });

  test('after a delete takes our mount away and the target with it', async () => {
    await mkdir(lab.kubeletPath('pod-9'));
    lab.mounts.add(lab.kubeletPath('pod-9'), '/p/trash/gone.170000/data');
    await unpublish(lab.kubeletPath('pod-9'), 'gone');
    expect(lab.mounts.has(lab.kubeletPath('pod-9'))).toBe(false);
    expect(existsSync(lab.kubeletPath('pod-9'))).toBe(false);
  });

  test('never takes away what is not ours', async () => {
    lab.mounts.add(lab.kubeletPath('foreign'), '/home');
    await mkdir(lab.kubeletPath('foreign'));
    await writeFile(lab.kubeletPath('file'), 'precious');
    for (const id of ['a', 'nobody', 'Not An Id']) {
      await expect(unpublish(lab.kubeletPath('foreign'), id)).rejects.toMatchObject(reason('bad-target'));
      await expect(unpublish(lab.kubeletPath('file'), id)).rejects.toMatchObject(reason('bad-target'));
    }
    await expect(unstage(lab.kubeletPath('foreign'))).rejects.toMatchObject(reason('bad-target'));
    expect(lab.mounts.has(lab.kubeletPath('foreign'))).toBe(true);
    expect(existsSync(lab.kubeletPath('file'))).toBe(true);
  });
});
