import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { Directory } from '../../../src/host/directory.ts';
import { lockDirectory } from '../../../src/host/lock-directory.ts';
import { ScratchDirectory } from '../../support/scratch-directory.ts';

const signal = AbortSignal.timeout(30_000);
let started: ChildProcess | undefined;
afterEach(() => {
  started?.kill('SIGKILL');
  started = undefined;
});

describe('the lock of a directory', () => {
  it('keeps everybody else out until the directory is closed, and comes again', async () => {
    await using scratch = await ScratchDirectory.make();
    const other = await Directory.open(scratch.path);
    expect(await lockDirectory(scratch.directory, signal)).toBe(true);
    expect(await lockDirectory(scratch.directory, signal)).toBe(true);
    expect(await lockDirectory(other, signal)).toBe(false);
    await scratch.directory.close();
    expect(await lockDirectory(other, signal)).toBe(true);
    await other.close();
  });

  it('is not had by the commands that its holder runs', async () => {
    await using scratch = await ScratchDirectory.make();
    const holder = await Directory.open(scratch.path);
    await lockDirectory(holder, signal);
    started = spawn('sleep', ['30'], { stdio: 'ignore' });
    await holder.close();
    expect(await lockDirectory(scratch.directory, signal)).toBe(true);
  });

  it('is gone with a process that is killed', async () => {
    await using scratch = await ScratchDirectory.make();
    const program = fileURLToPath(new URL('../../support/lock-holder.ts', import.meta.url));
    const child = spawn(process.execPath, ['--no-warnings', program, scratch.path], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    started = child;
    await once(child.stdout, 'data');
    expect(await lockDirectory(scratch.directory, signal)).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await lockDirectory(scratch.directory, signal)).toBe(true);
  });

  it('is of the directory and not of its path', async () => {
    await using scratch = await ScratchDirectory.make();
    mkdirSync(scratch.at('a'));
    const first = await Directory.open(scratch.at('a'));
    expect(await lockDirectory(first, signal)).toBe(true);
    execFileSync('mv', [scratch.at('a'), scratch.at('b')]);
    const second = await Directory.open(scratch.at('b'));
    expect(await lockDirectory(second, signal)).toBe(false);
    await Promise.all([first.close(), second.close()]);
  });
});
