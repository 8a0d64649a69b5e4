import { existsSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { dyingAt } from '../../support/dying.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { refusal } from '../../support/refusal.ts';
import { claimOfTeam, makeUsed } from '../../support/used-volumes.ts';
import { callFor, createRequest, GiB, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

const parameters = { backend: 'directory', onDelete: 'archive', ...claimOfTeam };
const request = createRequest('pvc-a', { parameters });
const archive = (...parts: string[]): string => join(lab.poolPath(), 'archive', ...parts);

const make = (process: LabProcess, text = 'kept', changes = {}) =>
  makeUsed(lab, process, { ...request, ...changes }, { name: 'file', text });

const remove = (process: LabProcess) => process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());

describe('a volume whose class says archive', () => {
  test('is kept whole when it is deleted, counts, is listed, and is found again after a restart', async () => {
    const process = await lab.start({ clock: new ManualClock(5_000) });
    await make(process);
    await remove(process);
    await remove(process);
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(await lab.namesIn('by-claim')).toEqual([]);
    expect(await readFile(archive('pvc-a', 'data', 'file'), 'utf8')).toBe('kept');
    expect((await stat(archive())).mode & 0o777).toBe(0o700);
    for (const each of [process, await lab.start()]) {
      expect(each.service.archived()).toEqual([
        {
          archiveId: 'pvc-a',
          volumeId: 'pvc-a',
          name: 'pvc-a',
          poolName: 'one',
          poolUuid: each.pools.open()[0]?.uuid,
          path: archive('pvc-a'),
          sizeBytes: GiB,
          takenBytes: GiB,
          claim: { namespace: 'team', name: 'data', uid: 'uid-1' },
          archivedAtMs: 5_000,
        },
      ]);
      expect(each.service.held()).toEqual([]);
      expect(each.service.holdsVolume('pvc-a')).toBe(false);
      expect(each.pools.open()[0]?.promisedBytes()).toBe(GiB);
      const [room] = await each.service.rooms();
      expect(room).toMatchObject({ name: 'one', sizeBytes: 100n * GiB, unpromisedBytes: 99n * GiB });
    }
  });

  test('is removed only when that is asked for by name, and then for good', async () => {
    const process = await lab.start();
    await make(process);
    await remove(process);
    expect(await refusal(process.service.removeArchived('pvc-b', callFor()))).toMatchObject({
      reason: 'volume-not-found',
    });
    await process.service.removeArchived('pvc-a', callFor());
    expect(process.service.archived()).toEqual([]);
    expect(await lab.namesIn('archive')).toEqual([]);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
  });

  test('lies beside an older one of its id', async () => {
    const process = await lab.start({ clock: new ManualClock(7_000) });
    for (const text of ['first', 'second']) {
      await make(process, text);
      await remove(process);
    }
    expect(await lab.namesIn('archive')).toEqual(['pvc-a', 'pvc-a.7000']);
    expect(await readFile(archive('pvc-a', 'data', 'file'), 'utf8')).toBe('first');
    const next = await lab.start();
    const ids = next.service.archived().map(({ archiveId, volumeId }) => `${archiveId} of ${volumeId}`);
    expect(ids.toSorted()).toEqual(['pvc-a of pvc-a', 'pvc-a.7000 of pvc-a']);
    await next.service.removeArchived('pvc-a', callFor());
    expect(await readFile(archive('pvc-a.7000', 'data', 'file'), 'utf8')).toBe('second');
  });

  test('counts as what it takes, where it is a thin image', async () => {
    const process = await lab.start();
    lab.loopback.written = 4096n;
    const thin = { ...parameters, backend: 'loopback' };
    await process.service.createVolume({ ...request, parameters: thin }, callFor());
    await process.service.acknowledge('pvc-a');
    await remove(process);
    expect(process.pools.open()[0]?.promisedBytes()).toBe(4096n);
    expect(process.pools.open()[0]?.records.unwrittenBytes).toBe(0n);
  });

  test('may be told so by an attributes class later', async () => {
    const process = await lab.start();
    await make(process, 'kept', { parameters: { backend: 'directory' } });
    await process.service.modifyVolume(
      { volumeId: 'pvc-a', mutableParameters: { onDelete: 'archive' } },
      callFor(),
    );
    await remove(process);
    expect(await lab.namesIn('archive')).toEqual(['pvc-a']);
  });

  test('and never had a PV, or is in use, is not archived', async () => {
    const process = await lab.start();
    await process.service.createVolume(request, callFor());
    await remove(process);
    expect(await lab.namesIn('archive')).toEqual([]);
    await make(process);
    lab.mounts.add('/somewhere', join(lab.poolPath(), 'volumes', 'pvc-a', 'data'));
    expect(await refusal(remove(process))).toMatchObject({ reason: 'in-use' });
    expect(await lab.namesIn('volumes')).toEqual(['pvc-a']);
  });

  test('with a record that cannot be read stays where it is', async () => {
    await (await lab.start()).stop();
    await mkdir(archive('pvc-b', 'data'), { recursive: true });
    await mkdir(archive('pvc-c'));
    await writeFile(archive('pvc-c', 'volume.json'), '{');
    const process = await lab.start();
    expect(process.service.archived()).toEqual([]);
    expect(await lab.namesIn('archive')).toEqual(['pvc-b', 'pvc-c']);
    expect(existsSync(archive('pvc-b', 'data'))).toBe(true);
  });

  test('can be given back, whole, to be a volume again', async () => {
    const process = await lab.start();
    await make(process);
    await remove(process);
    const pool = process.pools.open()[0];
    const record = await pool?.archive.giveBack('pvc-a', pool.volumes);
    expect(record).toMatchObject({ state: 'ready', acknowledged: true, used: true });
    const next = await lab.start();
    expect(next.service.held()).toMatchObject([{ volumeId: 'pvc-a', claim: { name: 'data' } }]);
    expect(next.service.archived()).toEqual([]);
    expect(await readFile(join(lab.poolPath(), 'volumes/pvc-a/data/file'), 'utf8')).toBe('kept');
  });
});

describe('a process killed while it archives', () => {
  const steps: readonly Step[] = ['released', 'archiving', 'archived'];
  test.each(steps)('at %s leaves the volume whole, in one place or the other', async (step) => {
    const { reached, died } = dyingAt(step);
    const first = await lab.start({ reached });
    await make(first);
    void remove(first);
    await died;
    const next = await lab.start();
    const isOver = step === 'archived';
    expect(next.service.held()).toHaveLength(isOver ? 0 : 1);
    expect(next.service.archived()).toHaveLength(isOver ? 1 : 0);
    expect(next.pools.open()[0]?.promisedBytes()).toBe(GiB);
    await remove(next);
    expect(await readFile(archive('pvc-a', 'data', 'file'), 'utf8')).toBe('kept');
    expect(await lab.namesIn('volumes')).toEqual([]);
    await until(async () => (await lab.namesIn('by-claim')).length === 0);
    expect(existsSync(join(lab.poolPath(), 'trash', 'pvc-a'))).toBe(false);
    expect(next.pools.open()[0]?.promisedBytes()).toBe(GiB);
  });
});
