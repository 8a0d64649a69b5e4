import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { dyingAt } from '../../support/dying.ts';
import {
  callFor,
  createRequest,
  dead,
  GiB,
  until,
  VolumeLab,
  type LabProcess,
} from '../../support/volume-lab.ts';

let lab: VolumeLab;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
});
afterEach(() => lab.clear());

async function startDyingAt(
  step: Step,
): Promise<{ readonly process: LabProcess; readonly died: Promise<void> }> {
  const { reached, died } = dyingAt(step);
  return { process: await lab.start({ reached }), died };
}

const claim = { 'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'team' };
const request = createRequest('pvc-a', { parameters: { backend: 'directory', ...claim } });
const isWhole = (id: string): boolean => existsSync(join(lab.poolPath(), 'volumes', id, 'data', '.whole'));

describe('a process killed while it creates', () => {
  test.each(['reserved', 'intent', 'data'] as const)(
    'at %s leaves nothing after the next start',
    async (step) => {
      const { process, died } = await startDyingAt(step);
      void process.service.createVolume(request, callFor());
      await died;
      const next = await lab.start();
      expect(await lab.namesIn('volumes')).toEqual([]);
      expect(await lab.namesIn('by-claim')).toEqual([]);
      expect(next.pools.open()[0]?.promisedBytes()).toBe(0n);
      expect(next.service.unacknowledged()).toEqual([]);
      // and whoever asks again, perhaps for something else, gets it
      const other = { ...request, capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } };
      expect((await next.service.createVolume(other, callFor())).capacityBytes).toBe(2n * GiB);
      expect(isWhole('pvc-a')).toBe(true);
    },
  );

  test('in the middle of the data leaves nothing after the next start', async () => {
    const first = await lab.start();
    lab.directory.duringCreate = dead;
    void first.service.createVolume(request, callFor());
    await until(() => existsSync(join(lab.poolPath(), 'volumes', 'pvc-a', 'data')));
    lab.directory.duringCreate = async () => {};
    await lab.start();
    expect(await lab.namesIn('volumes')).toEqual([]);
  });

  test('after the commit leaves the volume whole, for a repeat to find', async () => {
    const { process, died } = await startDyingAt('commit');
    void process.service.createVolume(request, callFor());
    await died;
    const next = await lab.start();
    expect(next.service.unacknowledged()).toMatchObject([{ volumeId: 'pvc-a', claim: { name: 'data' } }]);
    expect(isWhole('pvc-a')).toBe(true);
    expect((await next.service.createVolume(request, callFor())).volumeId).toBe('pvc-a');
  });
});

describe('a process killed while it deletes', () => {
  test.each([
    ['released', ['pvc-a']],
    ['taken', []],
  ] as const)('at %s leaves the volume whole or nothing', async (step, left) => {
    const { process, died } = await startDyingAt(step);
    await process.service.createVolume(request, callFor());
    void process.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await died;
    const next = await lab.start();
    expect(await lab.namesIn('volumes')).toEqual(left);
    await next.service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(next.pools.open()[0]?.promisedBytes()).toBe(0n);
  });
});

test('any sequence of creates, deletes and deaths ends where the model says', async () => {
  const names = ['a', 'b', 'c'];
  const steps: readonly Step[] = ['reserved', 'intent', 'data', 'commit', 'released', 'taken'];
  const action = fc.record({
    verb: fc.constantFrom('create' as const, 'delete' as const),
    name: fc.constantFrom(...names),
    gib: fc.constantFrom(1n, 2n),
    dieAt: fc.option(fc.constantFrom(...steps), { freq: 2, nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 12 }), async (actions) => {
      const own = await VolumeLab.make('one');
      try {
        let deathStep: Step | undefined;
        let tell = (): void => {};
        const start = (): Promise<LabProcess> =>
          own.start({
            reached: async (step) => {
              if (step !== deathStep) return;
              tell();
              await dead();
            },
          });
        const model = new Map<string, bigint>();
        let process = await start();
        for (const { verb, name, gib, dieAt } of actions) {
          const died = new Promise<'died'>((resolve) => {
            tell = () => resolve('died');
          });
          deathStep = dieAt;
          const before = model.get(name);
          const size = { capacityRange: { requiredBytes: gib * GiB, limitBytes: gib * GiB } };
          const done =
            verb === 'create'
              ? process.service.createVolume(createRequest(name, size), callFor()).then(() => 'done' as const)
              : process.service.deleteVolume({ volumeId: name }, callFor()).then(() => 'done' as const);
          const outcome = await Promise.race([died, done.catch((error: unknown) => error)]);
          deathStep = undefined;
          if (outcome === 'died') {
            process = await start();
            if (verb === 'create' && dieAt === 'commit') model.set(name, gib);
            if (verb === 'delete' && dieAt === 'taken') model.delete(name);
          } else if (verb === 'delete') {
            expect(outcome).toBe('done');
            model.delete(name);
          } else if (before === undefined || before === gib) {
            expect(outcome).toBe('done');
            model.set(name, gib);
          } else {
            expect(outcome).toMatchObject({ reason: 'already-exists-different' });
          }
          const { entries } = await process.service.listVolumes({ maxEntries: 0, startingToken: '' });
          const found = entries.map(({ volume, condition }) => [
            volume.volumeId,
            volume.capacityBytes / GiB,
            condition.abnormal,
          ]);
          expect(found).toEqual(names.filter((id) => model.has(id)).map((id) => [id, model.get(id), false]));
        }
        await until(async () => (await own.namesIn('trash')).length === 0);
        expect(await own.namesIn('volumes')).toEqual([...model.keys()].sort());
        const promised = [...model.values()].reduce((sum, gib) => sum + gib * GiB, 0n);
        await until(() => process.pools.open()[0]?.promisedBytes() === promised);
      } finally {
        await own.clear();
      }
    }),
    { numRuns: 40 },
  );
}, 60_000);

test('kill -9 at any moment, again and again, loses no answered volume or snapshot and leaks none', async () => {
  const program = fileURLToPath(new URL('../../support/volume-crasher.ts', import.meta.url));
  const kept = new Set<string>();
  const maybe = new Set<string>();
  for (let round = 0; round < 5; round += 1) {
    const child = spawn(process.execPath, [program, lab.root], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const ended = new Promise((resolve) => {
      child.once('close', resolve);
    });
    await until(() => output.split('\n').length > 10 + round * 17, 10_000);
    child.kill('SIGKILL');
    await ended;
    for (const line of output.split('\n').slice(0, -1)) {
      const id = line.slice(1);
      if (line.startsWith('+')) kept.add(id);
      if (line.startsWith('-')) {
        kept.delete(id);
        maybe.add(id);
      }
      if (line.startsWith('=')) maybe.delete(id);
    }
  }
  const { service } = await lab.start({ backends: [new DirectoryBackend()] });
  const { entries } = await service.listVolumes({ maxEntries: 0, startingToken: '' });
  const volumes = entries.map(({ volume }) => volume.volumeId);
  const page = await service.listSnapshots({ maxEntries: 0, startingToken: '' });
  expect(page.entries.filter(({ isReady }) => !isReady)).toEqual([]);
  const snapshots = page.entries.map(({ snapshotId }) => snapshotId);
  const found = new Set([...volumes, ...snapshots]);
  expect(entries.filter(({ condition }) => condition.abnormal)).toEqual([]);
  expect([...kept].filter((id) => !found.has(id))).toEqual([]);
  // beyond the answered ones: deletes that were not answered, and at most one finished create per lane and round
  const extra = [...found].filter((id) => !kept.has(id) && !maybe.has(id));
  expect(extra.length).toBeLessThanOrEqual(5 * 4);
  for (const volumeId of volumes) await service.deleteVolume({ volumeId }, callFor());
  for (const id of snapshots) await service.deleteSnapshot(id, callFor());
  await until(async () => (await lab.namesIn('trash')).length === 0);
  for (const folder of ['volumes', 'snapshots', 'by-claim'] as const) {
    expect(await lab.namesIn(folder)).toEqual([]);
  }
}, 60_000);
