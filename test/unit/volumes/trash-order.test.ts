import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unlimitedPace } from '../../../src/host/pace.ts';
import { giveWayTo, politePace } from '../../../src/volumes/trash/give-way.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { callFor, createRequest, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

const dataOf = (id: string): string => join(lab.poolPath(), 'volumes', id, 'data');

async function make(process: LabProcess, id: string, onDelete: string): Promise<void> {
  const parameters = { backend: 'directory', onDelete };
  await process.service.createVolume(createRequest(id, { parameters }), callFor());
}

describe('small volumes that are deleted', () => {
  test('do not wait for a large tree, which goes on where it was', async () => {
    let isHeld = true;
    let large = 0;
    const go = Promise.withResolvers<void>();
    const pace = {
      ...unlimitedPace,
      files: async (count: number) => {
        if (count === 64 && isHeld && (large += count) > 600) await go.promise;
      },
    };
    const process = await lab.start({ pace });
    await make(process, 'pvc-large', 'delete');
    mkdirSync(join(dataOf('pvc-large'), 'folder'));
    for (let index = 0; index < 2000; index += 1)
      writeFileSync(join(dataOf('pvc-large'), 'folder', `${index}`), '');
    const deleting = process.service.deleteVolume({ volumeId: 'pvc-large' }, callFor(30_000));
    await until(() => large > 600);
    for (const id of ['pvc-a', 'pvc-b']) {
      await make(process, id, 'delete');
      await process.service.deleteVolume({ volumeId: id }, callFor());
    }
    const [entry] = process.pools.open()[0]?.trash.entries() ?? [];
    expect(entry).toMatchObject({ id: 'pvc-large', attempts: 1 });
    expect(entry).not.toHaveProperty('failure');
    isHeld = false;
    go.resolve();
    await deleting;
    expect(await lab.namesIn('trash')).toEqual([]);
  });

  test('and scrubbed do not wait for the scrub of a large one', async () => {
    const go = Promise.withResolvers<void>();
    let bytes = 0;
    const pace = {
      ...unlimitedPace,
      bytes: async (count: number) => {
        bytes += count;
        if (bytes > 40 << 20) await go.promise;
      },
    };
    const process = await lab.start({ pace });
    await make(process, 'pvc-large', 'scrub');
    writeFileSync(join(dataOf('pvc-large'), 'file'), Buffer.alloc(32 << 20, 'x'));
    const deleting = process.service.deleteVolume({ volumeId: 'pvc-large' }, callFor(30_000));
    await until(() => bytes > 40 << 20);
    bytes = Number.NEGATIVE_INFINITY;
    await make(process, 'pvc-a', 'scrub');
    await process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    expect(process.pools.open()[0]?.trash.holds('pvc-large')).toBe(true);
    go.resolve();
    await deleting;
  });
});

describe('giving way', () => {
  test('waits for calls that are under way, a moment and no longer', async () => {
    const clock = new ManualClock(0);
    const calls = { size: 1 };
    let done = 0;
    const pace = politePace(unlimitedPace, giveWayTo(calls, clock));
    const { signal } = new AbortController();
    const first = pace.files(1, signal).then(() => (done += 1));
    await clock.advance(6);
    expect(done).toBe(0);
    await clock.advance(4);
    await first;
    expect(done).toBe(1);
    calls.size = 0;
    await pace.bytes(1, signal);
  });
});
