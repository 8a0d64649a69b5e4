import { rename } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../support/manual-clock.ts';
import { callFor, createRequest, diskOf, GiB, until, VolumeLab } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const ask = { capabilities: [], parameters: {} };

describe('why there is no room', () => {
  test('is not said where there is some', async () => {
    const { service } = await lab.start();
    expect((await service.getCapacity(ask)).reason).toBeUndefined();
  });

  test.each([
    ['a pool that is not configured', { pool: 'fast' }, /pool fast, which this node does not have/],
    ['a limit that nothing holds', { backend: 'directory', limit: 'enforced' }, /limit/],
    ['another topology', {}, /this node is .*node-a.*, not .*zone/, { zone: 'z' }],
  ])('is said of %s', async (_what, parameters, reason, accessibleTopology?: Record<string, string>) => {
    lab.directory.probed = { usable: true, enforcesLimit: false, detail: 'no quota' };
    const { service } = await lab.start();
    const place = accessibleTopology === undefined ? {} : { accessibleTopology };
    expect(await service.getCapacity({ ...ask, parameters, ...place })).toMatchObject({
      availableBytes: 0n,
      reason: expect.stringMatching(reason) as string,
    });
  });

  test('is said of a full pool with its numbers, and of the pool beside it that is missing', async () => {
    const { service } = await lab.start({
      pools: [lab.poolConfig('one'), { ...lab.poolConfig('two'), path: lab.poolPath('absent') }],
      statFileSystem: diskOf(GiB),
    });
    await service.createVolume(createRequest('a'), callFor());
    const { availableBytes, reason } = await service.getCapacity(ask);
    expect(availableBytes).toBe(0n);
    expect(reason).toMatch(/^pool one has 0 bytes to give of 1 GiB \(promised 1 GiB/);
    expect(reason).toMatch(/pool two is unavailable \(.*absent does not exist; mount its disk/);
  });

  test('is said where what is left is less than the smallest volume', async () => {
    const { service } = await lab.start({ statFileSystem: diskOf(100n << 20n) });
    const capacity = await service.getCapacity({
      ...ask,
      parameters: { 'csi.storage.k8s.io/fstype': 'xfs' },
    });
    expect(capacity).toMatchObject({
      maximumVolumeBytes: 100n << 20n,
      minimumVolumeBytes: 300n << 20n,
      reason: expect.stringMatching(/; the smallest volume is 300 MiB$/) as string,
    });
  });

  test('is that of every pool where all are missing', async () => {
    const { service } = await lab.start({
      pools: [
        { ...lab.poolConfig('one'), path: lab.poolPath('no-one') },
        { ...lab.poolConfig('two'), path: lab.poolPath('no-two') },
      ],
    });
    const { reason } = await service.getCapacity(ask);
    expect(reason).toMatch(/pool one: .*no-one does not exist.*; pool two: .*no-two does not exist/);
  });
});

describe('who listens for changes of space', () => {
  test('hears of a volume that is made, undone, moved to the trash and gone, each before the caller does', async () => {
    const { service } = await lab.start();
    let told = 0;
    service.onSpaceChanged(() => (told += 1));
    const heard = (): boolean => {
      const before = told;
      told = 0;
      return before > 0;
    };
    await service.createVolume(createRequest('a'), callFor());
    expect(heard()).toBe(true);
    lab.directory.create = () => Promise.reject(new Error('the disk says no'));
    await expect(service.createVolume(createRequest('b'), callFor())).rejects.toThrow('the disk says no');
    expect(heard()).toBe(true);
    expect((await service.getCapacity(ask)).availableBytes).toBe(99n * GiB);
    heard();
    await service.deleteVolume({ volumeId: 'a' }, callFor());
    // once in the trash what its image has not written yet is nobody's promise any more; once gone, nothing is
    expect(told).toBe(2);
    heard();
    expect((await service.getCapacity(ask)).availableBytes).toBe(100n * GiB);
    expect(heard()).toBe(false);
  });

  test('hears of a pool that goes and comes back, without anybody asking, and nothing of a shutdown', async () => {
    const clock = new ManualClock();
    const process = await lab.start({ clock });
    const { service, pools } = process;
    let told = 0;
    service.onSpaceChanged(() => (told += 1));
    await rename(lab.poolPath('one'), lab.poolPath('away'));
    await clock.advance(20_000);
    await until(() => told > 0);
    await until(() => service.poolTroubles()[0]?.why.includes('does not exist') === true);
    expect(service.poolTroubles()).toMatchObject([{ name: 'one', path: lab.poolPath('one') }]);
    told = 0;
    await rename(lab.poolPath('away'), lab.poolPath('one'));
    await until(async () => {
      await clock.advance(20_000);
      return pools.open().length === 1;
    });
    await until(() => told > 0);
    told = 0;
    await process.stop();
    expect(told).toBe(0);
  });
});
