import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import type { Clock } from '../../../src/model/clock.ts';
import { isReason } from '../../../src/model/errors.ts';
import { systemClock } from '../../../src/model/system-clock.ts';
import { isEntryId } from '../../../src/model/snapshot-id.ts';
import type { VolumeId } from '../../../src/model/volume-id.ts';
import { parseDoomed, recordNameOf } from '../../../src/volumes/records/entry-record.ts';
import { RecordStore } from '../../../src/volumes/records/record-store.ts';
import { SnapshotStore } from '../../../src/volumes/records/snapshot-store.ts';
import { accountOf } from '../../../src/volumes/space/account-of.ts';
import { undoVolume } from '../../../src/volumes/trash/undo-volume.ts';
import { dyingAt } from '../../support/dying.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import type { FailingFiles, FailurePlan } from '../../support/failing-files.ts';
import { callFor, createRequest, GiB, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';
import { copyRequest, snapshotOf } from './lab-copy.ts';
import { promised, stage } from './lab-volume.ts';

const files = vi.hoisted(() => ({ failing: undefined as FailingFiles | undefined }));
vi.mock('node:fs/promises', async (original) => {
  const { FailingFiles: Failing } = await import('../../support/failing-files.ts');
  files.failing = new Failing();
  return files.failing.interpose(await original());
});

function failing(): FailingFiles {
  if (files.failing === undefined) throw new Error('the files are not mocked');
  return files.failing;
}

/** Nobody waits for the trash's next try as long as in life. */
const hasty: Clock = {
  nowMs: () => systemClock.nowMs(),
  sleep: (delayMs, signal) => systemClock.sleep(delayMs / 100, signal),
  after: (delayMs, callback) => systemClock.after(delayMs / 100, callback),
};

let lab: VolumeLab;
afterEach(async () => {
  failing().heal();
  await lab.clear();
});

const parameters = { backend: 'loopback' };
const volume = (name: string, more = {}) => createRequest(name, { parameters: { ...parameters, ...more } });
const make = ({ service }: LabProcess, name = 'pvc-a', more = {}) =>
  service.createVolume(volume(name, more), callFor());
const remove = ({ service }: LabProcess, volumeId = 'pvc-a') => service.deleteVolume({ volumeId }, callFor());

async function use(process: LabProcess): Promise<void> {
  const stagingTargetPath = await stage(lab, process);
  await process.node.unstage({ volumeId: 'pvc-a', stagingTargetPath }, callFor());
}

interface Operation {
  readonly before?: (process: LabProcess) => Promise<unknown>;
  readonly act: (process: LabProcess) => Promise<unknown>;
  /** nobody asks for it again, once its claim is gone */
  readonly isMaking?: boolean;
}

const operations: Readonly<Record<string, Operation>> = {
  create: { act: (process) => make(process), isMaking: true },
  'create of a thick one': {
    act: (process) => make(process, 'pvc-a', { provisioning: 'thick' }),
    isMaking: true,
  },
  'create of a copy that shares': {
    before: make,
    act: ({ service }) => service.createVolume(copyRequest(), callFor()),
    isMaking: true,
  },
  'create of a full copy': {
    before: async (process) => {
      lab.loopback.isSharing = false;
      await make(process);
    },
    act: ({ service }) => service.createVolume(copyRequest(), callFor()),
    isMaking: true,
  },
  deletion: { before: make, act: (process) => remove(process) },
  scrub: {
    before: (process) => make(process, 'pvc-a', { onDelete: 'scrub' }),
    act: (process) => remove(process),
  },
  growth: {
    before: make,
    act: ({ service }) =>
      service.expandVolume(
        { volumeId: 'pvc-a', capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } },
        callFor(),
      ),
  },
  'change to thick': {
    before: make,
    act: ({ service }) =>
      service.modifyVolume({ volumeId: 'pvc-a', mutableParameters: { provisioning: 'thick' } }, callFor()),
  },
  recycling: {
    before: async (process) => {
      await make(process);
      await use(process);
    },
    act: ({ service }) => service.recycle({ volumeId: 'pvc-a' }, callFor()),
  },
  archiving: {
    before: async (process) => {
      await make(process, 'pvc-a', { onDelete: 'archive' });
      await process.service.acknowledge('pvc-a');
    },
    act: (process) => remove(process),
  },
  'removal from the archive': {
    before: archived,
    act: ({ service }) => service.removeArchived('pvc-a', callFor()),
  },
  'adoption out of the archive': {
    before: archived,
    act: ({ service }) => service.adopt('pvc-a', {}, callFor()),
  },
  snapshot: { before: make, act: snapshotOf },
  'snapshot by a full copy': {
    before: async (process) => {
      lab.loopback.isSharing = false;
      await make(process);
    },
    act: snapshotOf,
  },
  'deletion of a snapshot': {
    before: async (process) => {
      await make(process);
      await snapshotOf(process);
    },
    act: ({ service }) => service.deleteSnapshot('snap_snapshot-1', callFor()),
  },
};

async function archived(process: LabProcess): Promise<void> {
  await make(process, 'pvc-a', { onDelete: 'archive' });
  await process.service.acknowledge('pvc-a');
  await remove(process);
}

function poolOf({ pools }: LabProcess) {
  const [pool] = pools.open();
  if (pool === undefined) throw new Error('the pool is not open');
  return pool;
}

/** What a process that starts now would count. */
async function countOfDisk(): Promise<Record<string, unknown>> {
  const folder = async <T>(name: string, look: (directory: Directory) => Promise<T>): Promise<T> => {
    const directory = await Directory.open(join(lab.poolPath(), name));
    try {
      return await look(directory);
    } finally {
      await directory.close();
    }
  };
  const volumes = await folder('volumes', async (directory) => {
    const store = new RecordStore(directory);
    await store.scan();
    return { bytes: store.promisedBytes, names: await lab.namesIn('volumes') };
  });
  const snapshots = await folder('snapshots', async (directory) => {
    const store = new SnapshotStore(directory);
    await store.scan();
    return { bytes: store.pinnedBytes, names: await lab.namesIn('snapshots') };
  });
  let trashBytes = 0n;
  const trash = existsSync(join(lab.poolPath(), 'trash')) ? await lab.namesIn('trash') : [];
  for (const name of trash) {
    const id = name.replace(/\.\d+$/, '');
    if (!isEntryId(id)) continue;
    const path = join(lab.poolPath(), 'trash', name, recordNameOf(id));
    trashBytes += parseDoomed(id, await readFile(path, 'utf8'), path).promisedBytes;
  }
  return { volumes, snapshots, archive: await lab.namesIn('archive'), trashBytes };
}

function countOfMemory(process: LabProcess): Record<string, unknown> {
  const pool = poolOf(process);
  const { records, snapshotRecords, archive, trash } = pool;
  const ids = [...records.all()].map(({ spec }) => spec.id);
  const broken = [...records.allBroken()].map(([id]) => id);
  return {
    volumes: { bytes: records.promisedBytes, names: [...ids, ...broken].sort() },
    snapshots: {
      bytes: snapshotRecords.pinnedBytes,
      names: [...snapshotRecords.all()].map(({ id }) => id).sort(),
    },
    archive: archive
      .all()
      .map(({ archiveId }) => archiveId)
      .sort(),
    trashBytes: trash.usedBytes(),
  };
}

async function expectSame(process: LabProcess): Promise<void> {
  let seen = {};
  await eventually(
    'memory to say what the disk says',
    async () => {
      try {
        seen = { disk: await countOfDisk(), memory: countOfMemory(process) };
        expect(countOfMemory(process)).toEqual(await countOfDisk());
        return true;
      } catch (error) {
        throw new NotYet(String(error));
      }
    },
    2000,
  ).catch(() => {
    const { disk, memory } = seen as Record<string, unknown>;
    expect(memory).toEqual(disk);
  });
  expect(accountOf(poolOf(process)).growthBytes).toBe(0n);
  expect(poolOf(process).allocating.size).toBe(0);
}

/** Runs an operation anew for every step of it, which is the first to fail. @returns how many steps it has */
async function throughAllSteps(
  { before, act }: Operation,
  plan: Omit<FailurePlan, 'from'>,
  after: (process: LabProcess) => Promise<void>,
): Promise<number> {
  for (let from = 1; ; from += 1) {
    lab = await VolumeLab.make('one');
    const process = await lab.start({ clock: hasty });
    await before?.(process);
    failing().fail({ from, ...plan });
    const failure = await act(process).then(() => undefined, String);
    const { steps } = failing();
    failing().heal();
    try {
      await after(process);
    } catch (error) {
      throw new Error(`at step ${from}, which was answered ${failure}`, { cause: error });
    }
    await lab.clear();
    if (steps < from) return from - 1;
  }
}

/** What the loops do about whatever a process knows of, when all claims and snapshots are gone. */
async function deleteAll({ service }: LabProcess): Promise<void> {
  for (const { volumeId } of [...service.held(), ...service.unacknowledged()])
    await insistently(() => service.deleteVolume({ volumeId }, callFor()));
  for (const { archiveId } of service.archived())
    await insistently(() => service.removeArchived(archiveId, callFor()));
  const { entries } = await service.listSnapshots({ maxEntries: 0, startingToken: '' });
  for (const { snapshotId } of entries)
    await insistently(() => service.deleteSnapshot(snapshotId, callFor()));
}

/** As the loops do, whatever the answer; what was done for all that is said to be not there. */
async function insistently(act: () => Promise<unknown>): Promise<void> {
  await eventually('success', () => act().then(() => true, notYet), 3000);
}

function notYet(error: unknown): boolean {
  if (isReason(error, 'volume-not-found')) return true;
  throw new NotYet(String(error));
}

const nothing = {
  volumes: { bytes: 0n, names: [] },
  snapshots: { bytes: 0n, names: [] },
  archive: [],
  trashBytes: 0n,
};

async function expectNothing(process: LabProcess): Promise<void> {
  await eventually('the trash to be empty', () => poolOf(process).trash.entries().length === 0);
  await expectSame(process);
  expect(countOfMemory(process)).toEqual(nothing);
  expect(promised(process)).toBe(0n);
  expect(poolOf(process).records.unwrittenBytes).toBe(0n);
}

const patience = { timeout: 60_000 };

describe.each(Object.entries(operations))(
  'what is counted after a failed %s',
  patience,
  (_name, operation) => {
    test.each([
      { isDone: false, code: 'EIO' },
      { isDone: true, code: 'EIO' },
    ] as const)('is what is on the disk, at whichever step it was ($code, done: $isDone)', async (how) => {
      const steps = await throughAllSteps(operation, { count: 1, ...how }, expectSame);
      expect(steps).toBeGreaterThan(2);
    });

    test.each([
      { count: 4, isDone: false },
      { count: Infinity, isDone: true },
    ])('is nothing once all is deleted, after $count failures in a row (done: $isDone)', async (how) => {
      await throughAllSteps(operation, { code: 'EIO', ...how }, async (process) => {
        // a claim that is deleted meanwhile is one that nobody asks for again; all else is repeated until it is done
        if (operation.isMaking !== true) await insistently(() => operation.act(process));
        await deleteAll(process);
        await expectNothing(process);
      });
    });
  },
);

describe('what a killed process has half made', patience, () => {
  test.each([
    { count: 1, isDone: true },
    { count: 5, isDone: false },
  ])(
    'is known to the next one until it is gone, after $count failures at its start (done: $isDone)',
    async (how) => {
      for (let from = 1; ; from += how.count) {
        lab = await VolumeLab.make('one');
        const { reached, died } = dyingAt('data');
        const first = await lab.start({ reached });
        void make(first);
        await died;
        failing().fail({ from, code: 'EIO', ...how });
        const begun = await lab.start({ clock: hasty }).catch(() => undefined);
        const { steps } = failing();
        failing().heal();
        const next = begun ?? (await lab.start({ clock: hasty }));
        await eventually('the pool to be open', () => next.pools.open().length > 0);
        await deleteAll(next);
        await expectNothing(next);
        await lab.clear();
        if (steps < from) return;
      }
    },
  );
});

test('undoing that fails at its last step, when nothing is left, has succeeded', async () => {
  const outcomes: boolean[] = [];
  for (let from = 1; ; from += 1) {
    lab = await VolumeLab.make('one');
    const process = await lab.start();
    await make(process);
    const { volumes } = poolOf(process);
    failing().fail({ from, count: 1, isDone: true, code: 'EIO' });
    const undoing = undoVolume(volumes, { id: 'pvc-a' as VolumeId }, AbortSignal.timeout(5000));
    const isUndone = await undoing.then(
      () => true,
      () => false,
    );
    const { steps } = failing();
    failing().heal();
    expect(isUndone).toBe(!(await volumes.exists('pvc-a')));
    outcomes.push(isUndone);
    await lab.clear();
    if (steps < from) break;
  }
  // some step before, the last one, and none
  expect(outcomes.at(0)).toBe(false);
  expect(outcomes.slice(-2)).toEqual([true, true]);
});
