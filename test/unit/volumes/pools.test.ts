import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockDirectory } from '../../../src/host/lock-directory.ts';
import { formatRecord, parseRecord } from '../../../src/volumes/records/record.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { callFor, createRequest, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

function whyOf({ pools }: LabProcess): string {
  return pools
    .unavailable()
    .map(({ name, why }) => `${name}: ${why}`)
    .join('\n');
}

describe('a pool', () => {
  test('is made of an empty folder, private, and is the same one after a restart', async () => {
    await mkdir(join(lab.poolPath(), 'lost+found'));
    const first = await lab.start();
    const uuid = first.pools.open()[0]?.uuid;
    expect(JSON.parse(await readFile(join(lab.poolPath(), 'pool.json'), 'utf8'))).toMatchObject({
      schema: 1,
      uuid,
    });
    expect((await stat(lab.poolPath())).mode & 0o777).toBe(0o700);
    expect((await readdir(lab.poolPath())).sort()).toEqual([
      'archive',
      'by-claim',
      'lost+found',
      'pool.json',
      'snapshots',
      'trash',
      'volumes',
    ]);
    await first.stop();
    const second = await lab.start();
    expect(second.pools.open()[0]?.uuid).toBe(uuid);
  });

  test.each([
    [
      'that is not empty',
      async () => writeFile(join(lab.poolPath(), 'photo.jpg'), ''),
      {},
      /not empty \(photo.jpg\)/,
    ],
    ['that may not be initialised', async () => {}, { initialise: false }, /set initialise/],
    ['that does not exist', async () => rm(lab.poolPath(), { recursive: true }), {}, /does not exist/],
    [
      'that is a link',
      async () => {
        await rm(lab.poolPath(), { recursive: true });
        await symlink(lab.poolPath('two'), lab.poolPath());
      },
      {},
      /link/,
    ],
    [
      'that is a file',
      async () => {
        await rm(lab.poolPath(), { recursive: true });
        await writeFile(lab.poolPath(), '');
      },
      {},
      /no folder/,
    ],
    [
      'whose marker is damaged',
      async () => writeFile(join(lab.poolPath(), 'pool.json'), '{"uuid":'),
      {},
      /not JSON/,
    ],
  ])('is not made of a folder %s', async (_what, prepare, extra, why) => {
    await prepare();
    const before = existsSync(lab.poolPath()) ? await stat(lab.poolPath()) : undefined;
    const process = await lab.start({ pools: [lab.poolConfig('one', extra)] });
    expect(whyOf(process)).toMatch(why);
    expect(process.service.isReady()).toBe(false);
    if (before !== undefined) expect((await stat(lab.poolPath())).mode).toBe(before.mode);
    await expect(process.service.createVolume(createRequest('a'), callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
  });

  test('that is missing keeps the others from nothing', async () => {
    await rm(lab.poolPath('two'), { recursive: true });
    const { service } = await lab.start({ pools: [lab.poolConfig('two'), lab.poolConfig('one')] });
    expect(service.isReady()).toBe(true);
    await service.createVolume(createRequest('a'), callFor());
  });

  test('with the uuid of another is refused', async () => {
    await (await lab.start()).stop();
    await rm(lab.poolPath('two'), { recursive: true });
    await cp(lab.poolPath('one'), lab.poolPath('two'), { recursive: true });
    const process = await lab.start({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] });
    expect(whyOf(process)).toMatch(/two: .*open as one/);
    const twice = await lab.start({
      pools: [lab.poolConfig('one'), { ...lab.poolConfig('one'), name: 'again' }],
    });
    expect(whyOf(twice)).toMatch(/again: .*open as one/);
  });

  test('that another process has is left alone, and opened by itself when that one ends', async () => {
    const lock = lockDirectory;
    const first = await lab.start({ lock });
    await first.service.createVolume(createRequest('a'), callFor());
    const clock = new ManualClock();
    const next = await lab.start({ lock, clock });
    expect(whyOf(next)).toMatch(/one: .*in use by another process, perhaps one that is still stopping/);
    expect(next.service.isReady()).toBe(false);
    await expect(next.service.createVolume(createRequest('b'), callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
    // not taken for deleted either
    await expect(next.service.deleteVolume({ volumeId: 'a' }, callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
    await first.stop();
    await clock.advance(2000);
    await until(() => next.service.isReady());
    expect(next.pools.locate('a')?.record.state).toBe('ready');
  });

  test('is opened again by the process that lost it, and let go of where opening fails', async () => {
    const lock = lockDirectory;
    const first = await lab.start({ lock });
    const marker = await readFile(join(lab.poolPath(), 'pool.json'));
    await rm(join(lab.poolPath(), 'pool.json'));
    expect(await first.pools.usable()).toEqual([]);
    await writeFile(join(lab.poolPath(), 'pool.json'), marker);
    const next = await lab.start({ lock });
    expect(next.service.isReady()).toBe(true);
    await next.stop();
    await until(async () => (await first.pools.usable()).length === 1);
  });

  test('becomes unusable when its disk is read-only or its marker is gone', async () => {
    const { service } = await lab.start();
    await rm(join(lab.poolPath(), 'pool.json'));
    await expect(service.createVolume(createRequest('a'), callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
    expect(await lab.namesIn('volumes')).toEqual([]);
  });

  test('says which backends work there, and why others do not', async () => {
    lab.loopback.probed = { usable: false, detail: 'no /dev/loop-control' };
    lab.directory.probe = async () => {
      throw new Error('probing failed');
    };
    const { service, pools } = await lab.start();
    expect(pools.open()[0]?.offers.map((offer) => offer.probe.detail)).toEqual([
      'probing failed',
      'no /dev/loop-control',
    ]);
    await expect(service.createVolume(createRequest('a', { parameters: {} }), callFor())).rejects.toThrow(
      /no \/dev\/loop-control.*probing failed/,
    );
  });

  test('is counted with nothing where known-pools.json cannot be read: the start fails', async () => {
    await mkdir(join(lab.root, 'state'));
    await writeFile(join(lab.root, 'state', 'known-pools.json'), '{"pools":1}');
    await expect(lab.start()).rejects.toMatchObject({ reason: 'data-loss' });
  });
});

describe('the start on a pool', () => {
  const volumePath = (...parts: string[]): string => join(lab.poolPath(), 'volumes', ...parts);

  test('reads thousands of records in seconds', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('seed'), callFor());
    await first.stop();
    const seed = parseRecord(await lab.readRecord('seed'), 'seed');
    const ids = Array.from({ length: 2000 }, (_, index) => `pvc-${index}`);
    for (const id of ids) {
      await mkdir(volumePath(id));
      await writeFile(
        volumePath(id, 'volume.json'),
        formatRecord({ ...seed, name: id, spec: { ...seed.spec, id: id as never, sizeBytes: 4096n } }),
      );
    }
    const began = performance.now();
    const { pools } = await lab.start();
    expect(pools.open()[0]?.records.size).toBe(2001);
    expect(performance.now() - began).toBeLessThan(4000);
  });

  test('removes unfinished files and folders without anything, and keeps whatever else has no record', async () => {
    await (await lab.start()).stop();
    await mkdir(volumePath('empty'));
    await mkdir(volumePath('begun'));
    await writeFile(volumePath('begun', '.tmp-1234'), 'x');
    await mkdir(volumePath('unknown', 'data'), { recursive: true });
    await writeFile(volumePath('unknown', 'data', 'precious'), 'x');
    await writeFile(volumePath('file'), 'x');
    await writeFile(join(lab.poolPath(), '.tmp-5678'), 'x');
    const { service } = await lab.start();
    expect(await lab.namesIn('volumes')).toEqual(['file', 'unknown']);
    expect(await readFile(volumePath('unknown', 'data', 'precious'), 'utf8')).toBe('x');
    expect(existsSync(join(lab.poolPath(), '.tmp-5678'))).toBe(false);
    const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
    expect(entries.map(({ volume, condition }) => [volume.volumeId, condition.abnormal])).toEqual([
      ['file', true],
      ['unknown', true],
    ]);
  });

  test('removes what a power cut left of a create, and only if nothing is in it', async () => {
    await (await lab.start()).stop();
    for (const id of ['cut', 'cut-early', 'cut-late', 'lost', 'image']) {
      await mkdir(volumePath(id));
      await writeFile(volumePath(id, 'volume.json'), '');
    }
    await mkdir(volumePath('cut', 'data'));
    await mkdir(volumePath('cut-early', 'data.new'));
    await rm(volumePath('cut-late', 'volume.json'));
    await mkdir(volumePath('cut-late', 'data'));
    await mkdir(volumePath('lost', 'data'));
    await writeFile(volumePath('lost', 'data', 'precious'), 'x');
    await writeFile(volumePath('image', 'image'), 'x');
    const { service } = await lab.start();
    expect(await lab.namesIn('volumes')).toEqual(['image', 'lost']);
    expect(await readFile(volumePath('lost', 'data', 'precious'), 'utf8')).toBe('x');
    await service.createVolume(createRequest('cut'), callFor());
    await expect(service.createVolume(createRequest('lost'), callFor())).rejects.toMatchObject({
      reason: 'data-loss',
    });
  });

  test('keeps a volume whose record belongs elsewhere', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('a'), callFor());
    await first.stop();
    await cp(volumePath('a'), volumePath('b'), { recursive: true });
    const { service } = await lab.start();
    const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
    expect(entries.map(({ volume, condition }) => [volume.volumeId, condition.abnormal])).toEqual([
      ['a', false],
      ['b', true],
    ]);
  });
});
