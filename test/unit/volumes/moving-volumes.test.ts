import { mkdir, rename, rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { poolUuidKey } from '../../../src/model/volume.ts';
import {
  callFor,
  createRequest,
  dead,
  until,
  VolumeLab,
  type StartOptions,
} from '../../support/volume-lab.ts';
import { expectRefused } from '../../support/refusal.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

const twoPools = (): StartOptions => ({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] });

describe('a claim that moves in the middle of its creation', () => {
  const inPool = (pool: string) => createRequest('pvc-a', { parameters: { backend: 'directory', pool } });

  test('to another pool is undone in the first and made in the second', async () => {
    const first = await lab.start({
      ...twoPools(),
      reached: async (step) => (step === 'data' ? dead() : undefined),
    });
    void first.service.createVolume(inPool('one'), callFor());
    await until(async () => (await lab.namesIn('volumes', 'one')).length === 1);
    // recovery of this start cannot remove it, so the intent is still there when the other pool is named
    const release = lab.directory.release.bind(lab.directory);
    lab.directory.release = async () => {
      throw new Error('device is stuck');
    };
    const second = await lab.start(twoPools());
    expect(await lab.namesIn('volumes', 'one')).toEqual(['pvc-a']);
    lab.directory.release = release;
    const volume = await second.service.createVolume(inPool('two'), callFor());
    expect(volume.volumeContext[poolUuidKey]).toBe(second.pools.open()[1]?.uuid);
    expect(await lab.namesIn('volumes', 'one')).toEqual([]);
    expect(await lab.namesIn('volumes', 'two')).toEqual(['pvc-a']);
  });

  test('after it was finished is refused', async () => {
    const { service } = await lab.start(twoPools());
    await service.createVolume(inPool('one'), callFor());
    await expectRefused(service.createVolume(inPool('two'), callFor()), 'already-exists-different');
  });

  test('to another node leaves an unacknowledged volume on the first, which it may sweep', async () => {
    const { service } = await lab.start();
    await service.createVolume(createRequest('pvc-a'), callFor());
    expect(service.unacknowledged()).toMatchObject([{ volumeId: 'pvc-a', name: 'pvc-a' }]);
  });
});

describe('the ledger', () => {
  test('remembers over a restart which volumes have a PV', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('a'), callFor());
    await first.service.createVolume(createRequest('b'), callFor());
    await first.service.acknowledge('a');
    await first.service.acknowledge('a');
    await first.service.acknowledge('nobody');
    expect(first.service.unacknowledged().map((volume) => volume.volumeId)).toEqual(['b']);
    await first.stop();
    const second = await lab.start();
    expect(second.service.unacknowledged().map((volume) => volume.volumeId)).toEqual(['b']);
  });
});

describe('a pool whose disk goes away', () => {
  test('is used again when it is back, without a restart', async () => {
    const { service } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    await rename(lab.poolPath(), `${lab.poolPath()}.away`);
    await mkdir(lab.poolPath());
    const error = await expectRefused(
      service.createVolume(createRequest('b'), callFor()),
      'pool-unavailable',
    );
    expect(error.message).toMatch(/not mounted/);
    expect(service.isReady()).toBe(false);
    await expectRefused(service.deleteVolume({ volumeId: 'a' }, callFor()), 'pool-unavailable');
    await expectRefused(service.getVolume('a'), 'pool-unavailable');
    await rm(lab.poolPath(), { recursive: true });
    await rename(`${lab.poolPath()}.away`, lab.poolPath());
    await until(async () => {
      await service.getCapacity({ capabilities: [], parameters: {} });
      return service.isReady();
    });
    expect((await service.getVolume('a')).volume.volumeId).toBe('a');
  });

  test('is never made anew, not even by another process', async () => {
    await (await lab.start()).stop();
    await rm(lab.poolPath(), { recursive: true });
    await mkdir(lab.poolPath());
    const { pools } = await lab.start();
    expect(pools.open()).toEqual([]);
    expect(pools.unavailable()).toMatchObject([
      { name: 'one', why: expect.stringMatching(/was pool/) as unknown },
    ]);
  });
});
