import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unlimitedPace, type Pace } from '../../../src/host/pace.ts';
import { poolUuidKey } from '../../../src/model/volume.ts';
import { callFor, createRequest, GiB, until, VolumeLab } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one', 'two');
});
afterEach(() => lab.clear());

/** A pace that lets nothing through until it is told to. */
function gate(): { readonly pace: Pace; readonly open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const wait = async (): Promise<void> => opened;
  return { pace: { ...unlimitedPace, files: wait, bytes: wait }, open };
}

describe('DeleteVolume', () => {
  test('resolves when the last byte is gone, and its space with it', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    const removed: string[] = [];
    service.onRemoved((id) => removed.push(id));
    await service.deleteVolume({ volumeId: 'a' }, callFor());
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(pools.open()[0]?.promisedBytes()).toBe(0n);
    expect(removed).toEqual(['a']);
    await service.deleteVolume({ volumeId: 'a' }, callFor());
  });

  test.each(['..', '/etc/passwd', 'a/b', 'nul\0', 'Ünï', 'x'.repeat(200), 'never-was'])(
    'of %j, which is nobody’s, is success and touches nothing',
    async (volumeId) => {
      const { service } = await lab.start();
      await service.createVolume(createRequest('a'), callFor());
      await service.deleteVolume({ volumeId }, callFor());
      expect(await lab.namesIn('volumes')).toEqual(['a']);
    },
  );

  test('without an id is refused', async () => {
    const { service } = await lab.start();
    await expect(service.deleteVolume({ volumeId: '' }, callFor())).rejects.toMatchObject({
      reason: 'invalid-argument',
    });
  });

  test('is refused while the volume is mounted, and says where', async () => {
    const { service } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    lab.mounts.add('/somewhere', join(lab.poolPath(), 'volumes', 'a', 'data'));
    await expect(service.deleteVolume({ volumeId: 'a' }, callFor())).rejects.toMatchObject({
      reason: 'in-use',
      message: expect.stringContaining('/somewhere') as unknown,
    });
    expect(await lab.namesIn('volumes')).toEqual(['a']);
  });

  test('compares the pool that the PV names', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    const wrong = { [poolUuidKey]: '00000000-0000-4000-8000-000000000000' };
    await expect(
      service.deleteVolume({ volumeId: 'a', volumeContext: wrong }, callFor()),
    ).rejects.toMatchObject({ reason: 'wrong-pool' });
    await expect(
      service.deleteVolume({ volumeId: 'gone', volumeContext: wrong }, callFor()),
    ).rejects.toMatchObject({ reason: 'pool-unavailable' });
    const right = { [poolUuidKey]: pools.open()[0]?.uuid ?? '' };
    await service.deleteVolume({ volumeId: 'gone', volumeContext: right }, callFor());
    await service.deleteVolume({ volumeId: 'a', volumeContext: right }, callFor());
    expect(await lab.namesIn('volumes')).toEqual([]);
  });

  test('of an unknown volume is no success while a pool is missing: it may lie there', async () => {
    await rm(lab.poolPath('two'), { recursive: true });
    const { service, pools } = await lab.start({ pools: [lab.poolConfig('one'), lab.poolConfig('two')] });
    await expect(service.deleteVolume({ volumeId: 'x' }, callFor())).rejects.toMatchObject({
      reason: 'pool-unavailable',
    });
    // the PV says that it was in the pool that is here
    await service.deleteVolume(
      { volumeId: 'x', volumeContext: { [poolUuidKey]: pools.open()[0]?.uuid ?? '' } },
      callFor(),
    );
  });

  test('answers before the deadline while bytes are left, and a repeat waits for the rest', async () => {
    const { pace, open } = gate();
    const { service, pools } = await lab.start({ pace });
    await service.createVolume(createRequest('a'), callFor());
    await expect(service.deleteVolume({ volumeId: 'a' }, callFor(1100))).rejects.toMatchObject({
      reason: 'still-removing',
      code: 'ABORTED',
    });
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(pools.open()[0]?.promisedBytes()).toBe(GiB);
    // beside the one that is being removed there may be a new one of the name
    await service.createVolume(createRequest('a'), callFor());
    expect(pools.open()[0]?.promisedBytes()).toBe(2n * GiB);
    const deleting = service.deleteVolume({ volumeId: 'a' }, callFor());
    open();
    await deleting;
    await until(() => pools.open()[0]?.promisedBytes() === 0n);
    expect(await lab.namesIn('trash')).toEqual([]);
  });

  test('goes on after a restart, and waits for that too', async () => {
    const closed = gate();
    const first = await lab.start({ pace: closed.pace });
    await first.service.createVolume(createRequest('a'), callFor());
    await expect(first.service.deleteVolume({ volumeId: 'a' }, callFor(1100))).rejects.toMatchObject({
      reason: 'still-removing',
    });
    closed.open();
    await first.stop();
    const second = await lab.start();
    await second.service.deleteVolume({ volumeId: 'a' }, callFor());
    expect(await lab.namesIn('trash')).toEqual([]);
  });

  test('of a volume whose folder somebody removed is success', async () => {
    const { service, pools } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    await rm(join(lab.poolPath(), 'volumes', 'a'), { recursive: true });
    await service.deleteVolume({ volumeId: 'a' }, callFor());
    expect(pools.open()[0]?.promisedBytes()).toBe(0n);
  });

  test('of a volume with a damaged record is refused: it is kept', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('a'), callFor());
    await first.stop();
    await writeFile(join(lab.poolPath(), 'volumes', 'a', 'volume.json'), '{');
    const { service } = await lab.start();
    await expect(service.deleteVolume({ volumeId: 'a' }, callFor())).rejects.toMatchObject({
      reason: 'data-loss',
    });
    await expect(service.createVolume(createRequest('a'), callFor())).rejects.toMatchObject({
      reason: 'data-loss',
    });
    expect(existsSync(join(lab.poolPath(), 'volumes', 'a', 'data', '.whole'))).toBe(true);
  });

  test('excludes every other call for the volume', async () => {
    const { service, node } = await lab.start();
    await service.createVolume(createRequest('a'), callFor());
    lab.directory.users = async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [];
    };
    const deleting = service.deleteVolume({ volumeId: 'a' }, callFor());
    const stagingTargetPath = lab.kubeletPath('stage');
    await mkdir(stagingTargetPath);
    const capability = createRequest('a').capabilities[0];
    if (capability === undefined) throw new Error('no capability');
    await expect(
      node.stage({ volumeId: 'a', stagingTargetPath, capability, volumeContext: {} }, callFor()),
    ).rejects.toMatchObject({ reason: 'busy' });
    await expect(service.deleteVolume({ volumeId: 'a' }, callFor())).rejects.toMatchObject({
      reason: 'busy',
    });
    await deleting;
  });
});
