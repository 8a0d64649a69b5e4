import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unlimitedPace, type Pace } from '../../../src/host/pace.ts';
import type { VolumeCapability } from '../../../src/model/volume.ts';
import type { Step } from '../../../src/volumes/volume-environment.ts';
import { dyingAt } from '../../support/dying.ts';
import { refusal } from '../../support/refusal.ts';
import { claimOfTeam, makeUsed, stagingOf } from '../../support/used-volumes.ts';
import {
  blockCapability,
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

const request = createRequest('pvc-a', {
  parameters: { backend: 'directory', onDelete: 'scrub', ...claimOfTeam },
});
const at = (...parts: string[]): string => join(lab.poolPath(), 'volumes', 'pvc-a', ...parts);
const secret = 'the tenant’s secret';

const staging = (volumeId?: string, capability?: VolumeCapability) => stagingOf(lab, volumeId, capability);
const make = (process: LabProcess, made = request) =>
  makeUsed(lab, process, made, { name: 'secret', text: secret });

async function expectRenewed(process: LabProcess): Promise<void> {
  expect(existsSync(at('data', '.whole'))).toBe(true);
  expect(existsSync(at('data', 'secret'))).toBe(false);
  expect((await readdir(at())).sort()).toEqual(['data', 'volume.json']);
  expect(JSON.parse(await lab.readRecord('pvc-a'))).toMatchObject({ state: 'ready', acknowledged: true });
  expect(await lab.namesIn('trash')).toEqual([]);
  expect(await lab.namesIn('by-claim')).toEqual([]);
  expect(process.service.held()).toMatchObject([
    { volumeId: 'pvc-a', isRecycling: false, used: false, acknowledged: true, sizeBytes: GiB },
  ]);
  expect(process.service.held()[0]).not.toHaveProperty('claim');
  expect(process.pools.open()[0]?.promisedBytes()).toBe(GiB);
  await process.node.stage(staging(), callFor());
  await process.node.unstage(staging(), callFor());
}

describe('recycling a volume', () => {
  test('makes it anew, empty, of the same size and shape, and nobody’s', async () => {
    const process = await lab.start();
    const grown = { ...request, parameters: { ...request.parameters, mode: '2770', gid: '7' } };
    await make(process, grown);
    await process.service.expandVolume(
      { volumeId: 'pvc-a', capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } },
      callFor(),
    );
    const specs: unknown[] = [];
    lab.directory.duringCreate = async (_place, spec) => void specs.push(spec);
    await process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    expect(specs).toMatchObject([{ id: 'pvc-a', sizeBytes: 2n * GiB, mode: 0o2770, gid: 7 }]);
    expect(existsSync(at('data', 'secret'))).toBe(false);
    expect(process.service.wasUsed('pvc-a')).toBe(false);
    expect(process.pools.open()[0]?.promisedBytes()).toBe(2n * GiB);
    // and it is the same after a restart
    const next = await lab.start();
    expect(next.service.held()).toMatchObject([
      { volumeId: 'pvc-a', used: false, acknowledged: true, sizeBytes: 2n * GiB },
    ]);
    expect(next.service.unacknowledged()).toEqual([]);
  });

  test('that was never used leaves it as it is, and one that was made of another does not', async () => {
    const process = await lab.start();
    await process.service.createVolume(request, callFor());
    await writeFile(at('data', 'from-the-start'), '');
    await process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    expect(existsSync(at('data', 'from-the-start'))).toBe(true);
    const contentSource = { kind: 'volume', volumeId: 'pvc-a' } as const;
    await process.service.createVolume({ ...request, name: 'pvc-b', contentSource }, callFor());
    expect(process.pools.open()[0]?.records.copied).toBe(1);
    await process.service.recycle({ volumeId: 'pvc-b' }, callFor());
    const data = join(lab.poolPath(), 'volumes', 'pvc-b', 'data');
    expect(await readdir(data)).toEqual(['.whole']);
    expect(process.pools.open()[0]?.records.copied).toBe(0);
  });

  test('has its old data destroyed as its record says, before anything new is made', async () => {
    const erasing = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const pace: Pace = {
      ...unlimitedPace,
      bytes: async () => {
        erasing.resolve();
        await go.promise;
      },
    };
    const process = await lab.start({ pace });
    await make(process);
    const recycling = process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await erasing.promise;
    const [entry] = process.pools.open()[0]?.trash.entries() ?? [];
    expect(entry).toMatchObject({ id: 'pvc-a', method: 'scrub', promisedBytes: 0n });
    expect(existsSync(at('data'))).toBe(false);
    // counted once, not as the volume and as what is left of it
    expect(process.pools.open()[0]?.promisedBytes()).toBe(GiB);
    go.resolve();
    await recycling;
    await expectRenewed(process);
  });

  test('answers still-removing before the deadline, goes on, and a repeat finds it ready', async () => {
    const go = Promise.withResolvers<void>();
    const process = await lab.start({ pace: { ...unlimitedPace, files: () => go.promise } });
    await make(process);
    const removed: string[] = [];
    process.service.onRemoved((id) => removed.push(id));
    const late = process.service.recycle({ volumeId: 'pvc-a' }, callFor(1200));
    expect(await refusal(late)).toMatchObject({ reason: 'still-removing', code: 'ABORTED' });
    expect(process.service.held()).toMatchObject([{ volumeId: 'pvc-a', isRecycling: true }]);
    go.resolve();
    await until(() => removed.includes('pvc-a'));
    await process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await expectRenewed(process);
  });

  test('goes on with what was begun where only that is asked, and begins nothing', async () => {
    const go = Promise.withResolvers<void>();
    const process = await lab.start({ pace: { ...unlimitedPace, files: () => go.promise } });
    await make(process);
    const onlyBegun = { volumeId: 'pvc-a', onlyBegun: true };
    await process.service.recycle(onlyBegun, callFor());
    expect(existsSync(at('data', 'secret'))).toBe(true);
    expect(process.service.held()).toMatchObject([{ isRecycling: false, used: true }]);
    const late = process.service.recycle({ volumeId: 'pvc-a' }, callFor(1200));
    expect(await refusal(late)).toMatchObject({ reason: 'still-removing' });
    go.resolve();
    await process.service.recycle(onlyBegun, callFor());
    await expectRenewed(process);
  });

  test('by two at once ends with one empty volume', async () => {
    const go = Promise.withResolvers<void>();
    const process = await lab.start({ pace: { ...unlimitedPace, files: () => go.promise } });
    await make(process);
    const both = [1, 2].map(() => process.service.recycle({ volumeId: 'pvc-a' }, callFor()));
    await until(() => process.service.held()[0]?.isRecycling === true);
    go.resolve();
    await Promise.all(both);
    await expectRenewed(process);
  });

  test('refuses what is in use, copied, of another pool, a pod’s or not there', async () => {
    const process = await lab.start();
    await make(process);
    const recycle = (poolUuid?: string) =>
      refusal(
        process.service.recycle(
          { volumeId: 'pvc-a', ...(poolUuid === undefined ? {} : { poolUuid }) },
          callFor(),
        ),
      );
    expect(await recycle('another')).toMatchObject({ reason: 'wrong-pool' });
    await process.node.stage(staging(), callFor());
    expect(await recycle()).toMatchObject({ reason: 'in-use' });
    await process.node.unstage(staging(), callFor());
    const letGo = process.environment.holds.hold('pvc-a', { reading: () => '1 %', keepsQuiet: true });
    expect(await recycle()).toMatchObject({ reason: 'busy' });
    letGo();
    expect(await refusal(process.service.recycle({ volumeId: 'pvc-x' }, callFor()))).toMatchObject({
      reason: 'volume-not-found',
    });
    expect(await readFile(at('data', 'secret'), 'utf8')).toBe(secret);
  });

  test('keeps everybody else from it meanwhile, in words that say so, and DeleteVolume works', async () => {
    const go = Promise.withResolvers<void>();
    const process = await lab.start({ pace: { ...unlimitedPace, files: () => go.promise } });
    await make(process);
    const { service, node } = process;
    const recycling = refusal(service.recycle({ volumeId: 'pvc-a' }, callFor()));
    await until(() => process.pools.open()[0]?.trash.holds('pvc-a') === true);
    // until then it is busy
    await until(() => !process.environment.locks.holds('pvc-a'));
    const targetPath = lab.kubeletPath('pod');
    const contentSource = { kind: 'volume', volumeId: 'pvc-a' } as const;
    const attempts = {
      stage: () => node.stage(staging(), callFor()),
      publish: () => node.publish({ ...staging(), targetPath, readonly: false }, callFor()),
      create: () => service.createVolume(request, callFor()),
      expand: () =>
        service.expandVolume(
          { volumeId: 'pvc-a', capacityRange: { requiredBytes: 2n * GiB, limitBytes: 0n } },
          callFor(),
        ),
      modify: () =>
        service.modifyVolume({ volumeId: 'pvc-a', mutableParameters: { onDelete: 'delete' } }, callFor()),
      snapshot: () =>
        service.createSnapshot({ name: 's', sourceVolumeId: 'pvc-a', parameters: {} }, callFor()),
      clone: () => service.createVolume({ ...request, name: 'pvc-b', contentSource }, callFor()),
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      const failure = await refusal(attempt());
      expect([name, failure.code]).toEqual([name, 'FAILED_PRECONDITION']);
      expect(failure.message).toMatch(/is being emptied for its next claim/);
    }
    const listed = await service.getVolume('pvc-a');
    expect(listed.condition.message).toMatch(/being emptied/);
    const deleting = service.deleteVolume({ volumeId: 'pvc-a' }, callFor());
    await until(() => !existsSync(at()));
    go.resolve();
    await deleting;
    expect(await recycling).toMatchObject({ reason: 'volume-not-found' });
    expect(await lab.namesIn('volumes')).toEqual([]);
    expect(await lab.namesIn('trash')).toEqual([]);
    expect(process.pools.open()[0]?.promisedBytes()).toBe(0n);
  });

  test('removes the data of one whose deletion would archive it', async () => {
    const process = await lab.start();
    const parameters = { ...request.parameters, onDelete: 'archive' };
    await make(process, { ...request, parameters });
    await process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    expect(await lab.namesIn('archive')).toEqual([]);
    await expectRenewed(process);
  });

  test('of a thick image keeps its space from everybody else until it is allocated anew', async () => {
    const process = await lab.start();
    const parameters = { backend: 'loopback', provisioning: 'thick' };
    const capabilities = [blockCapability];
    await process.service.createVolume({ ...request, parameters, capabilities }, callFor());
    await process.node.stage(staging('pvc-a', blockCapability), callFor());
    await process.node.unstage(staging(), callFor());
    const made = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    lab.loopback.duringCreate = async () => {
      made.resolve();
      await go.promise;
    };
    const recycling = process.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await made.promise;
    expect(process.pools.open()[0]?.pendingBytes()).toBe(GiB);
    go.resolve();
    await recycling;
    expect(process.pools.open()[0]?.pendingBytes()).toBe(0n);
    expect(await readFile(at('image'), 'utf8')).toBe('whole');
  });
});

describe('a process killed while it recycles', () => {
  const steps: readonly Step[] = ['recycling', 'gathered', 'emptied', 'remade', 'renewed'];
  test.each(steps)('at %s serves nothing half-way, and a repeat ends in the same state', async (step) => {
    const { reached, died } = dyingAt(step);
    const first = await lab.start({ reached });
    await make(first);
    void first.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await died;
    const next = await lab.start();
    const isOver = step === 'renewed';
    expect(next.service.held()).toMatchObject([{ volumeId: 'pvc-a', isRecycling: !isOver }]);
    expect(next.service.unacknowledged()).toEqual([]);
    if (!isOver) {
      expect(await refusal(next.node.stage(staging(), callFor()))).toMatchObject({ reason: 'in-use' });
    }
    await next.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await expectRenewed(next);
  });

  test('in the middle of the new data begins again', async () => {
    const first = await lab.start();
    await make(first);
    lab.directory.duringCreate = dead;
    void first.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await until(() => existsSync(at('data')) && !existsSync(at('data', 'secret')));
    lab.directory.duringCreate = async () => {};
    const next = await lab.start();
    await next.service.recycle({ volumeId: 'pvc-a' }, callFor());
    await expectRenewed(next);
  });

  test('while it gathers the old data loses none of it to a plain delete', async () => {
    const first = await lab.start();
    await make(first);
    await first.stop();
    // the record is committed and the data is not yet beside it
    const record = await lab.readRecord('pvc-a');
    await writeFile(at('volume.json'), record.replace('"state": "ready"', '"state": "recycling"'));
    await mkdir(at('old'));
    const entries: string[] = [];
    const pace: Pace = {
      ...unlimitedPace,
      bytes: async (count) => void entries.push(`erased ${count}`),
    };
    const next = await lab.start({ pace });
    await next.service.recycle({ volumeId: 'pvc-a' }, callFor());
    expect(entries.length).toBeGreaterThan(0);
    await expectRenewed(next);
  });
});

test('what cannot be erased stays destroyed half-way, says why, and goes on when it can', async () => {
  const process = await lab.start();
  await make(process);
  let isBroken = true;
  lab.directory.discard = async () => {
    if (isBroken) throw new Error('the disk fails');
  };
  const failure = await refusal(process.service.recycle({ volumeId: 'pvc-a' }, callFor()));
  expect(failure.message).toMatch(/the disk fails/);
  expect(process.service.held()).toMatchObject([{ isRecycling: true }]);
  isBroken = false;
  await until(async () => (await lab.namesIn('trash')).length === 0);
  await process.service.recycle({ volumeId: 'pvc-a' }, callFor());
  await expectRenewed(process);
});
