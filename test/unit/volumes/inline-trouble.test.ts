import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/model/errors.ts';
import type { PublishRequest } from '../../../src/model/node-driver.ts';
import { dyingAt } from '../../support/dying.ts';
import {
  expectNothing,
  id,
  lab,
  podFolder,
  process,
  publish,
  request,
  restart,
  stagingPath,
  target,
  unpublish,
  useInlineLab,
} from '../../support/inline-lab.ts';
import { callFor, until } from '../../support/volume-lab.ts';

useInlineLab();

describe('a pod with very many inline volumes', () => {
  const wishOf = (name: string): PublishRequest =>
    request(
      { size: '4Mi' },
      { volumeId: `csi-${name}`, targetPath: join(podFolder(), `volumes/kubernetes.io~csi/${name}/mount`) },
    );

  test('has a few of them made and ended at a time, and those that nobody waits for any more not at all', async () => {
    const { duringCreate } = lab.loopback;
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    let making = 0;
    let most = 0;
    lab.loopback.duringCreate = async () => {
      making += 1;
      most = Math.max(most, making);
      await opened;
      making -= 1;
    };
    const names = Array.from({ length: 40 }, (_, n) => `n${n}`);
    const all = names.map((name) => publish(wishOf(name)));
    await until(() => making > 0);
    const patience = new AbortController();
    const wanted = wishOf('late');
    const late = process.node.publish(wanted, { signal: patience.signal });
    await new Promise((resolve) => setImmediate(resolve));
    patience.abort(new StorageError('cancelled', 'kubelet is gone'));
    await expect(late).rejects.toThrow('kubelet is gone');
    open();
    await Promise.all(all);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(8);
    lab.loopback.duringCreate = duringCreate;
    expect(await lab.namesIn('volumes')).toHaveLength(40);

    const users = lab.loopback.users.bind(lab.loopback);
    let ending = 0;
    let mostEnding = 0;
    lab.loopback.users = async () => {
      ending += 1;
      mostEnding = Math.max(mostEnding, ending);
      await new Promise((resolve) => setTimeout(resolve, 5));
      ending -= 1;
      return [];
    };
    await Promise.all(names.map((name) => unpublish(wishOf(name).targetPath, `csi-${name}`)));
    expect(mostEnding).toBeGreaterThan(1);
    expect(mostEnding).toBeLessThanOrEqual(8);
    lab.loopback.users = users;
    await expectNothing();
  });
});

describe('an inline volume whose pool goes', () => {
  test('holds nothing of the lost disk once its pod has ended, and is removed when that is back', async () => {
    await publish();
    // unnoticed until the pod ends
    await rename(lab.poolPath(), `${lab.poolPath()}-away`);
    await mkdir(lab.poolPath());
    await unpublish();
    expect(lab.mounts.has(target())).toBe(false);
    expect(lab.mounts.has(stagingPath())).toBe(false);
    expect(existsSync(stagingPath())).toBe(false);
    await rm(podFolder(), { recursive: true });
    await process.stop();
    await rm(lab.poolPath(), { recursive: true });
    await rename(`${lab.poolPath()}-away`, lab.poolPath());
    await restart();
    await process.node.sweepInline(callFor());
    await expectNothing();
  });

  test('is found by its data where an empty one was made before it in another pool', async () => {
    await mkdir(lab.poolPath('two'));
    await process.stop();
    const pools = [lab.poolConfig('one'), lab.poolConfig('two')];
    const { reached, died } = dyingAt('commit');
    await restart({ pools: [lab.poolConfig('one')], reached });
    void publish();
    await died;
    await rename(lab.poolPath('one'), `${lab.poolPath('one')}-away`);
    await mkdir(lab.poolPath('one'));
    await restart({ pools });
    await publish();
    const image = join(lab.poolPath('two'), 'volumes', id, 'image');
    await writeFile(image, 'what the pod wrote');
    for (const path of [target(), stagingPath()]) lab.mounts.remove(path);
    await process.stop();
    await rm(lab.poolPath('one'), { recursive: true });
    await rename(`${lab.poolPath('one')}-away`, lab.poolPath('one'));
    await restart({ pools });
    await publish();
    expect(process.environment.publications.at(stagingPath())?.poolUuid).toBe(
      process.pools.open().find(({ name }) => name === 'two')?.uuid,
    );
    expect(await readFile(image, 'utf8')).toBe('what the pod wrote');
    await unpublish();
    for (const name of ['one', 'two']) expect(await lab.namesIn('volumes', name)).toEqual([]);
    expect(existsSync(stagingPath())).toBe(false);
  });
});
