import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { dyingAt } from '../../support/dying.ts';
import { callFor, createRequest, dead, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

const request = { name: 's', sourceVolumeId: 'a', parameters: {} };
const isWhole = (): boolean => existsSync(join(lab.poolPath(), 'snapshots', 'snap_s', 'data', '.whole'));

/** A process that dies at a step of a snapshot: it never gets past it. */
async function startDyingAt(step: Step): Promise<{ process: LabProcess; died: Promise<void> }> {
  const { reached, died } = dyingAt(step, 'snap_s');
  const process = await lab.start({ reached });
  await process.service.createVolume(createRequest('a'), callFor());
  return { process, died };
}

describe.each([true, false])(
  'a process killed while it makes a snapshot (shared blocks: %s)',
  (isSharing) => {
    beforeEach(() => {
      lab.directory.isSharing = isSharing;
    });

    test.each(['reserved', 'intent', 'data'] as const)(
      'at %s leaves nothing after the next start',
      async (step) => {
        const { process, died } = await startDyingAt(step);
        void process.service.createSnapshot(request, callFor()).catch(() => {});
        await died;
        const next = await lab.start();
        expect(await lab.namesIn('snapshots')).toEqual([]);
        expect(await lab.namesIn('volumes')).toEqual(['a']);
        expect(next.pools.open()[0]?.promisedBytes()).toBe(1n << 30n);
        expect((await next.service.createSnapshot(request, callFor())).isReady).toBe(true);
        expect(isWhole()).toBe(true);
      },
    );

    test('in the middle of the data leaves nothing after the next start', async () => {
      const process = await lab.start();
      await process.service.createVolume(createRequest('a'), callFor());
      let isCopying = false;
      lab.directory.duringCopy = () => {
        isCopying = true;
        return dead();
      };
      void process.service.createSnapshot(request, callFor()).catch(() => {});
      await until(() => isCopying);
      expect(existsSync(join(lab.poolPath(), 'snapshots', 'snap_s', 'data.half'))).toBe(true);
      lab.directory.duringCopy = async () => {};
      const next = await lab.start();
      expect(await lab.namesIn('snapshots')).toEqual([]);
      expect(lab.directory.discarded.some((path) => path.endsWith('snap_s'))).toBe(true);
      expect((await next.service.createSnapshot(request, callFor())).isReady).toBe(true);
    });

    test('after the commit leaves it whole, for a repeat to find', async () => {
      const { process, died } = await startDyingAt('commit');
      void process.service.createSnapshot(request, callFor()).catch(() => {});
      await died;
      const next = await lab.start();
      expect(isWhole()).toBe(true);
      const listed = await next.service.listSnapshots({ maxEntries: 0, startingToken: '' });
      expect(listed.entries).toMatchObject([{ snapshotId: 'snap_s', isReady: true }]);
      expect(await next.service.createSnapshot(request, callFor())).toEqual(listed.entries[0]);
    });
  },
);

test('a process killed when a snapshot went to the trash removes it at the next start', async () => {
  const { process, died } = await startDyingAt('taken');
  await process.service.createSnapshot(request, callFor());
  void process.service.deleteSnapshot('snap_s', callFor()).catch(() => {});
  await died;
  const next = await lab.start();
  await next.service.deleteSnapshot('snap_s', callFor());
  expect(await lab.namesIn('snapshots')).toEqual([]);
  expect(await lab.namesIn('trash')).toEqual([]);
  expect(await lab.namesIn('volumes')).toEqual(['a']);
});

describe('a start-up', () => {
  test('removes a folder whose intent never came to the disk, and unfinished files, and nothing else', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('a'), callFor());
    await first.service.createSnapshot(request, callFor());
    await first.stop();
    const folder = join(lab.poolPath(), 'snapshots');
    await mkdir(join(folder, 'snap_empty'));
    await mkdir(join(folder, 'snap_cut'));
    await writeFile(join(folder, 'snap_cut', 'snapshot.json'), '');
    await writeFile(join(folder, 'snap_cut', '.tmp-1'), '{');
    await writeFile(join(folder, 'snap_s', '.tmp-2'), '{');
    await mkdir(join(folder, 'snap_data', 'data'), { recursive: true });
    await writeFile(join(folder, 'snap_data', 'data', 'precious'), 'x');
    const next = await lab.start();
    expect(await lab.namesIn('snapshots')).toEqual(['snap_data', 'snap_s']);
    expect(existsSync(join(folder, 'snap_s', '.tmp-2'))).toBe(false);
    expect(next.pools.open()[0]?.snapshotRecords.broken('snap_data')?.message).toMatch(
      /has data and no snapshot.json/,
    );
  });

  test('does not take a snapshot’s record for that of another', async () => {
    const first = await lab.start();
    await first.service.createVolume(createRequest('a'), callFor());
    await first.service.createSnapshot(request, callFor());
    await first.stop();
    const record = JSON.stringify({ schema: 1, id: 'snap_other' });
    await writeFile(join(lab.poolPath(), 'snapshots', 'snap_s', 'snapshot.json'), record);
    const next = await lab.start();
    expect(next.pools.open()[0]?.snapshotRecords.broken('snap_s')?.reason).toBe('data-loss');
    expect(isWhole()).toBe(true);
  });
});
