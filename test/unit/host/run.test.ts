import { describe, expect, it } from 'vitest';
import { CommandError, describeFailure, run } from '../../../src/host/run.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { failureOf } from '../../support/failure-of.ts';

const signal = AbortSignal.timeout(30_000);

async function commandErrorOf(promise: Promise<unknown>): Promise<CommandError> {
  const error = await failureOf(promise);
  expect(error).toBeInstanceOf(CommandError);
  return error as CommandError;
}

describe('run', () => {
  it('gives the output, in the C locale and with nothing to read', async () => {
    expect(await run('sh', ['-c', 'echo "$LC_ALL"; cat'], { signal })).toEqual({ stdout: 'C' });
    expect(await run('cat', [], { signal, input: 'fed' })).toEqual({ stdout: 'fed' });
  });

  it('hands arguments over as they are, without a shell', async () => {
    const odd = '$(id); "a"\n\\040';
    expect((await run('printf', ['%s', odd], { signal })).stdout).toBe(odd);
  });

  it('fails with the exit code, the command and the last words of stderr', async () => {
    const error = await commandErrorOf(
      run('sh', ['-c', 'echo first >&2; echo last >&2; exit 32'], { signal }),
    );
    expect(error).toMatchObject({ reason: 'host-failure', exitCode: 32, timedOut: false, isMissing: false });
    expect(error.message).toBe('sh failed with exit code 32: first; last');
    expect(error.argv[0]).toBe('sh');
    expect(error.durationMs).toBeGreaterThanOrEqual(0);
  });

  it('keeps no more than 4 KiB of stderr, the end', async () => {
    const error = await commandErrorOf(run('sh', ['-c', 'seq 1 5000 >&2; exit 1'], { signal }));
    expect(error.stderr).toHaveLength(4096);
    expect(error.stderr).toContain('5000');
  });

  it('stops a command at its timeout', async () => {
    const error = await commandErrorOf(run('sleep', ['20'], { signal, timeoutMs: 50 }));
    expect(error.timedOut).toBe(true);
    expect(error.message).toBe('sleep did not end within 50 ms and was stopped');
  });

  it('stops a command when its caller gives up, with the reason that the caller gave', async () => {
    const controller = new AbortController();
    const running = run('sleep', ['20'], { signal: controller.signal });
    const reason = new StorageError('deadline-exceeded', 'too late');
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    await expect(run('true', [], { signal: controller.signal })).rejects.toBe(reason);
    await expect(run('true', [], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      reason: 'cancelled',
    });
  });

  it('says that a program is missing', async () => {
    const error = await commandErrorOf(run('no-such-program-of-loam', [], { signal }));
    expect(error.isMissing).toBe(true);
    expect(error.message).toContain('no-such-program-of-loam is not installed on this node');
  });

  it.each([
    ['mkfs.ext4', 'e2fsprogs'],
    ['mkfs.xfs', 'xfsprogs'],
    ['mkfs.btrfs', 'btrfs-progs'],
    ['losetup', 'mount'],
    ['filefrag', 'e2fsprogs'],
    ['xfs_io', 'xfsprogs'],
  ])('names the package of a missing %s', (command, name) => {
    const outcome = { exitCode: undefined, stderr: '', timedOut: false, isMissing: true, durationMs: 1 };
    const text = describeFailure(command, outcome, {
      timeoutMs: 1,
      endedBy: undefined,
      cause: 'spawn ENOENT',
    });
    expect(text).toBe(
      `${command} is not installed on this node; install the package ${name} (by its Debian name)`,
    );
  });
});
