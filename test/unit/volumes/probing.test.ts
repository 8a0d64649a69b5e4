import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BackendProbe } from '../../../src/backends/backend.ts';
import { mayPass } from '../../../src/backends/may-pass.ts';
import { CommandError } from '../../../src/host/run.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { callFor, createRequest, until, VolumeLab, type LabProcess } from '../../support/volume-lab.ts';

let lab: VolumeLab;
let clock: ManualClock;
/** what probing a directory comes to, by turn; the last stands */
let answers: (() => BackendProbe)[];
let asked: number;
beforeEach(async () => {
  lab = await VolumeLab.make('one');
  clock = new ManualClock();
  asked = 0;
  lab.directory.probe = async () => {
    asked += 1;
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === undefined) throw new Error('the test gave no answer');
    return answer();
  };
  lab.loopback.probed = { usable: false, detail: 'no loop devices' };
});
afterEach(() => lab.clear());

const works = (): BackendProbe => ({ usable: true, enforcesLimit: true, detail: 'works' });
const fails = (): BackendProbe => {
  throw commandError({});
};

function commandError(how: { stderr?: string; isMissing?: boolean }): CommandError {
  const { stderr = '', isMissing = false } = how;
  const outcome = { argv: ['mkfs'], exitCode: 1, stderr, timedOut: false, isMissing, durationMs: 1 };
  return new CommandError('mkfs was ended by SIGKILL', outcome);
}

const create = ({ service }: LabProcess, parameters: Record<string, string> = { backend: 'directory' }) =>
  service.createVolume(createRequest('a', { parameters }), callFor());

/** Time passes, and what that set off, which is of the file system and held by no clock, has got as far as its next timer. */
async function pass(ms: number): Promise<void> {
  const waiting = clock.waiting;
  await clock.advance(ms);
  await until(() => clock.waiting >= waiting);
}

describe('a backend that a failed command kept from being tried', () => {
  test('is unavailable, not impossible, and serves once it was tried again', async () => {
    answers = [fails, works];
    const process = await lab.start({ clock });
    let told = 0;
    process.environment.spaceChanged.add(() => (told += 1));
    const refused = create(process);
    await expect(refused).rejects.toMatchObject({ reason: 'pool-unavailable', code: 'UNAVAILABLE' });
    await expect(refused).rejects.toThrow(
      /pool one: directory: could not be tried: mkfs was ended by SIGKILL; it is tried again/,
    );
    // another that is impossible for good does not hide it
    await expect(create(process, { backend: 'auto' })).rejects.toMatchObject({ reason: 'pool-unavailable' });
    const before = await process.service.getControllerCapabilities();
    expect(before.has('EXPAND_VOLUME')).toBe(false);
    await clock.advance(2000);
    await until(() => process.pools.open()[0]?.offers[0]?.probe.usable === true);
    await create(process);
    expect((await process.service.getControllerCapabilities()).has('EXPAND_VOLUME')).toBe(true);
    expect(told).toBeGreaterThan(0);
    expect(existsSync(join(lab.poolPath(), '.scratch'))).toBe(false);
    await pass(600_000);
    expect(asked).toBe(2);
  });

  test('is tried less and less often while it fails, and a class that it was not for is served', async () => {
    answers = [fails];
    lab.loopback.probed = works();
    const process = await lab.start({ clock });
    await create(process, { backend: 'loopback' });
    const atSeconds: number[] = [];
    const beganMs = clock.nowMs();
    for (let seen = asked; clock.nowMs() - beganMs < 1_200_000; seen = asked) {
      await pass(1000);
      if (asked > seen) atSeconds.push((clock.nowMs() - beganMs) / 1000);
    }
    expect(atSeconds).toEqual([2, 6, 14, 30, 62, 126, 254, 510, 810, 1110]);
    await process.service.deleteVolume({ volumeId: 'a' }, callFor());
    await expect(create(process)).rejects.toMatchObject({ reason: 'pool-unavailable' });
  });

  test('whose limit alone could not be tried serves who needs none, and the others later', async () => {
    const detail = 'no limit can be set: xfs_quota was ended by SIGKILL';
    answers = [() => ({ usable: true, enforcesLimit: false, detail, isProvisional: true }), works];
    const process = await lab.start({ clock });
    await expect(create(process)).rejects.toThrow(
      /size limit could not be tried: .*SIGKILL; it is tried again/,
    );
    await create(process, { backend: 'directory', limit: 'advisory' });
    await clock.advance(2000);
    await until(() => asked === 2);
  });

  test('does not keep its pool from being closed', async () => {
    answers = [fails];
    const process = await lab.start({ clock });
    let wasStopped = false;
    lab.directory.probe = async (_place?: unknown, signal?: AbortSignal) => {
      asked += 1;
      await new Promise((resolve) => signal?.addEventListener('abort', resolve));
      wasStopped = true;
      return works();
    };
    await clock.advance(2000);
    await until(() => asked === 2);
    await process.pools.stop();
    expect(wasStopped).toBe(true);
    expect(process.pools.open()).toEqual([]);
  });
});

describe('a backend that clearly does not work', () => {
  test.each<readonly [string, () => BackendProbe]>([
    ['said so', () => ({ usable: false, detail: 'no btrfs' })],
    [
      'lacks a program',
      () => {
        throw commandError({ isMissing: true });
      },
    ],
    [
      'lacks a right',
      () => {
        throw commandError({ stderr: 'losetup: /dev/loop0: Permission denied' });
      },
    ],
  ])('as it %s is never asked again', async (_how, answer) => {
    answers = [answer];
    const process = await lab.start({ clock });
    await expect(create(process)).rejects.toMatchObject({ reason: 'unsupported-capability' });
    for (let turn = 0; turn < 4; turn += 1) await pass(300_000);
    expect(asked).toBe(1);
  });
});

test('what ended a probe may pass, or says what the node lacks', () => {
  const full = commandError({ stderr: 'mkfs.ext4: No space left on device' });
  const lacking = commandError({ stderr: "mount: unknown filesystem type 'xfs'" });
  const within = (cause: unknown) => new StorageError('host-failure', 'it failed', { cause });
  expect([full, within(full), new Error('EIO'), commandError({})].map(mayPass)).toEqual([
    true,
    true,
    true,
    true,
  ]);
  const denied = Object.assign(new Error('no'), { code: 'EPERM' });
  expect([lacking, within(lacking), denied].map(mayPass)).toEqual([false, false, false]);
});
