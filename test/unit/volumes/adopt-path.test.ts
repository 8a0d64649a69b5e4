import { link, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AdoptPathOptions } from '../../../src/volumes/adoption/adopted-record.ts';
import { readSource } from '../../../src/volumes/adoption/find-adoptable.ts';
import { dyingAt } from '../../support/dying.ts';
import { callFor, createRequest, GiB, type LabProcess, VolumeLab } from '../../support/volume-lab.ts';

const MiB = 1n << 20n;

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make();
});
afterEach(() => lab.clear());

const inPool = (...parts: string[]): string => join(lab.poolPath(), ...parts);

/** A folder with a file in it, at this path below the pool. */
async function folder(...parts: string[]): Promise<string> {
  await mkdir(inPool(...parts), { recursive: true });
  await writeFile(inPool(...parts, 'file'), 'precious');
  return inPool(...parts);
}

/** A sparse file with the magic number of ext4 where that belongs, or nothing. */
async function image(name: string, sizeBytes = 16n * MiB, magic = true): Promise<string> {
  const bytes = Buffer.alloc(2048);
  if (magic) bytes.set([0x53, 0xef], 1080);
  await writeFile(inPool(name), bytes, { mode: 0o644 });
  await truncate(inPool(name), Number(sizeBytes));
  return inPool(name);
}

function adopt({ service }: LabProcess, path: string, options: AdoptPathOptions = { sizeBytes: GiB }) {
  return service.adoptPath(path, options, callFor());
}

describe('adopting a folder', () => {
  it('moves it in as it is, held to no size, and never to be swept', async () => {
    const process = await lab.start();
    const { ino } = await stat(await folder('discovery', 'orders'));
    const adopted = await adopt(process, inPool('discovery', 'orders'), {
      sizeBytes: GiB,
      owner: { clusterUid: 'cluster-1', className: 'found' },
      parameters: { onDelete: 'archive', adopt: 'by-name' },
    });
    expect(adopted).toMatchObject({
      backend: 'directory',
      accessType: 'mount',
      limit: 'advisory',
      sizeBytes: GiB,
      acknowledged: true,
      used: true,
      clusterUid: 'cluster-1',
      className: 'found',
      adopt: 'by-name',
    });
    expect(adopted.volumeId).toMatch(/^orders-[0-9a-f]{10}$/);
    expect((await stat(inPool('volumes', adopted.volumeId, 'data'))).ino).toBe(ino);
    expect(await readFile(inPool('volumes', adopted.volumeId, 'data', 'file'), 'utf8')).toBe('precious');
    expect(await readdir(inPool('discovery'))).toEqual([]);
    expect(await readdir(lab.poolPath())).not.toContain('.adopting');
    expect(process.service.wasUsed(adopted.volumeId)).toBe(true);
    await process.stop();
    const next = await lab.start();
    expect(next.service.held()).toMatchObject([
      { volumeId: adopted.volumeId, acknowledged: true, used: true, adopt: 'by-name' },
    ]);
  });

  it('answers a repeat with the same volume, and refuses another folder of that path', async () => {
    const process = await lab.start();
    const path = await folder('old');
    const adopted = await adopt(process, path);
    expect(await adopt(process, `${path}/`)).toEqual(adopted);
    await folder('old');
    await expect(adopt(process, path)).rejects.toMatchObject({ reason: 'already-exists-different' });
    const other = await adopt(process, path, { sizeBytes: GiB, volumeId: 'second' });
    expect(other.volumeId).toBe('second');
    expect(await lab.namesIn('volumes')).toEqual([adopted.volumeId, 'second'].sort());
  });

  it('promises 1 GiB for one of which no size is said', async () => {
    const process = await lab.start();
    expect(await adopt(process, await folder('old'), {})).toMatchObject({ sizeBytes: GiB });
  });

  it('gives no id that another volume has', async () => {
    const process = await lab.start();
    await process.service.createVolume(createRequest('pvc-a'), callFor());
    const path = await folder('old');
    const options = { sizeBytes: GiB, volumeId: 'pvc-a' };
    await expect(adopt(process, path, options)).rejects.toMatchObject({ reason: 'already-exists-different' });
    expect(await readdir(path)).toEqual(['file']);
  });

  it('refuses what cannot be its size, shape or parameters, and touches nothing', async () => {
    const process = await lab.start();
    await expect(adopt(process, await folder('old'), { sizeBytes: 0n })).rejects.toThrow(/are no size/);
    await expect(adopt(process, inPool('old'), { sizeBytes: GiB, accessType: 'block' })).rejects.toThrow(
      /cannot be a block/,
    );
    await expect(
      adopt(process, inPool('old'), { sizeBytes: GiB, parameters: { limits: 'x' } }),
    ).rejects.toMatchObject({ reason: 'invalid-parameter' });
    expect(await readdir(inPool('old'))).toEqual(['file']);
    expect(await readdir(lab.poolPath())).not.toContain('.adopting');
  });
});

describe('adopting an image', () => {
  it('keeps its size and its file system, and takes it from everybody else', async () => {
    const process = await lab.start();
    const adopted = await adopt(process, await image('disk.img'), {});
    expect(adopted).toMatchObject({
      backend: 'loopback',
      accessType: 'mount',
      fsType: 'ext4',
      sizeBytes: 16n * MiB,
      limit: 'enforced',
    });
    expect((await stat(inPool('volumes', adopted.volumeId, 'image'))).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await lab.readRecord(adopted.volumeId))).toMatchObject({
      spec: { provisioning: 'thin' },
      adoptedFrom: 'disk.img',
    });
  });

  it('is a block volume where it holds no file system, and refuses to be mounted then', async () => {
    const process = await lab.start();
    const path = await image('raw', 16n * MiB, false);
    await expect(adopt(process, path, { accessType: 'mount' })).rejects.toMatchObject({
      reason: 'unsupported-capability',
    });
    const adopted = await adopt(process, path, {});
    expect(adopted).toMatchObject({ accessType: 'block', backend: 'loopback' });
    expect(adopted).not.toHaveProperty('fsType');
  });

  it('refuses a size that is not whole blocks, or another than it has, and files with two names', async () => {
    const process = await lab.start();
    await expect(adopt(process, await image('odd', 16n * MiB + 1n), {})).rejects.toThrow(
      /truncate -s 16781312/,
    );
    await expect(adopt(process, await image('even'), { sizeBytes: GiB })).rejects.toThrow(/keeps that size/);
    await link(inPool('even'), inPool('twin'));
    await expect(adopt(process, inPool('even'), {})).rejects.toThrow(/2 names/);
    expect(await lab.namesIn('volumes')).toEqual([]);
  });
});

describe('what is not adopted', () => {
  it.each([
    ['a path outside', '/etc'],
    ['a relative path', 'discovery/a'],
    ['the pool itself', '.'],
    ['its marker', './pool.json'],
    ["another volume's data", './volumes/pvc-a/data'],
    ['what is in the trash', './trash/x'],
    ['an archived volume', './archive/x'],
    ['the folder of discovered ones', './discovery'],
    ['a hidden one', './discovery/.hidden'],
    ['a way out by dots', './discovery/../volumes/pvc-a/data'],
    ['a name with a newline', './discovery/a\nb'],
  ])('%s', async (_what, path) => {
    const process = await lab.start();
    await process.service.createVolume(createRequest('pvc-a'), callFor());
    const full = path.startsWith('.') ? `${lab.poolPath()}/${path}` : path;
    await expect(adopt(process, full)).rejects.toMatchObject({
      reason: expect.stringMatching(/^(invalid-argument|pool-not-found)$/) as string,
    });
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  it('a link, and whatever lies behind one', async () => {
    const process = await lab.start();
    await folder('real', 'inner');
    await symlink('real', inPool('link'));
    await expect(adopt(process, inPool('link'))).rejects.toThrow(/symbolic link/);
    await expect(adopt(process, inPool('link', 'inner'))).rejects.toThrow(/is a link/);
    await mkdir(join(lab.root, 'outside'));
    await symlink(join(lab.root, 'outside'), inPool('out'));
    await expect(adopt(process, inPool('out'))).rejects.toThrow(/symbolic link/);
  });

  it('another pool, or what lies in one, whoever it belongs to', async () => {
    const process = await lab.start();
    await folder('old-pool', 'volumes', 'pvc-b', 'data');
    await writeFile(inPool('old-pool', 'pool.json'), '{}');
    for (const path of ['old-pool', 'old-pool/volumes/pvc-b/data'])
      await expect(adopt(process, inPool(path))).rejects.toThrow(/old-pool is a pool/);
    expect(await readdir(inPool('old-pool', 'volumes'))).toEqual(['pvc-b']);
  });

  it('a configured pool inside this one, what is above it, and what is in it while it is not open', async () => {
    const process = await lab.start();
    await folder('disks', 'two', 'volumes', 'pvc-b');
    const pools = { open: () => process.pools.open(), paths: () => [lab.poolPath(), inPool('disks', 'two')] };
    for (const path of ['disks', 'disks/two', 'disks/two/volumes/pvc-b'])
      expect(() => readSource(pools, inPool(path))).toThrow(/is of the pool .*two/);
    expect(readSource(pools, inPool('disks', 'three')).relativePath).toBe('disks/three');
  });

  it('what is not there', async () => {
    const process = await lab.start();
    await expect(adopt(process, inPool('nowhere', 'deep'))).rejects.toMatchObject({
      reason: 'path-not-found',
    });
    await expect(adopt(process, inPool('nowhere'))).rejects.toMatchObject({ reason: 'path-not-found' });
  });
});

describe('a process that dies while it adopts', () => {
  it.each(['reserved', 'intent', 'data', 'commit'] as const)('at step %s loses nothing', async (step) => {
    await (await lab.start()).stop();
    const path = await folder('discovery', 'orders');
    const { reached, died } = dyingAt(step, 'orders');
    const doomed = await lab.start({ reached });
    const options = { sizeBytes: GiB, volumeId: 'orders' };
    void adopt(doomed, path, options).catch(() => {});
    await died;
    const next = await lab.start();
    const hasMoved = step === 'data' || step === 'commit';
    expect(next.service.held().map(({ volumeId }) => volumeId)).toEqual(hasMoved ? ['orders'] : []);
    expect(await readdir(inPool('discovery'))).toEqual(hasMoved ? [] : ['orders']);
    expect(await readdir(lab.poolPath())).not.toContain('.adopting');
    const adopted = await adopt(next, path, options);
    expect(await readFile(inPool('volumes', adopted.volumeId, 'data', 'file'), 'utf8')).toBe('precious');
    expect(await readdir(inPool('discovery'))).toEqual([]);
    expect(await lab.namesIn('volumes')).toEqual(['orders']);
  });

  it('keeps what cannot be settled', async () => {
    await (await lab.start()).stop();
    await folder('.adopting', 'orders', 'data');
    await folder('volumes', 'orders', 'data');
    const { service } = await lab.start();
    expect(service.held()).toEqual([]);
    expect(await readFile(inPool('.adopting', 'orders', 'data', 'file'), 'utf8')).toBe('precious');
    expect(await readFile(inPool('volumes', 'orders', 'data', 'file'), 'utf8')).toBe('precious');
  });
});
