import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ScratchDirectory } from '../../support/scratch-directory.ts';
import { Program } from './program.ts';

const script = join(import.meta.dirname, '../../../scripts/demo');
const isRoot = process.getuid?.() === 0;
/** `nobody`: has no files and no rights */
const nobody = 65_534;

const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith('loam-demo-'));
const before = new Set(leftovers());
afterEach(() => expect(leftovers().filter((name) => !before.has(name))).toEqual([]));

/** @returns a PATH on which the script comes before the command of its name */
function withCommand(scratch: ScratchDirectory, command: string, body: string): string {
  writeFileSync(scratch.at(command), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  chmodSync(scratch.path, 0o755);
  return `${scratch.path}:${process.env['PATH']}`;
}

describe('scripts/demo', () => {
  it.skipIf(!isRoot)('tells the whole story as root [needs root]', async () => {
    const { code, stdout } = await new Program(script, ['--check']).ended;
    expect(stdout).not.toContain('✗');
    expect(stdout).toMatch(/\d+ steps came true, 0 skipped\n$/);
    expect(code).toBe(0);
  });

  it.skipIf(!isRoot)(
    'tells it to an ordinary user, and names the steps that need root [needs root to become one]',
    async () => {
      const { code, stdout, stderr } = await new Program(script, ['--check'], {
        uid: nobody,
        env: { HOME: tmpdir() },
      }).ended;
      expect(stderr).toBe('');
      expect(stdout).not.toContain('✗');
      expect(stdout).toContain('skipped: a user namespace has no loop devices');
      expect(stdout).toMatch(/\d+ steps came true, 3 skipped\n$/);
      expect(code).toBe(0);
    },
  );

  it.skipIf(!isRoot)(
    'stays up for kubectl until it is told to stop, and leaves nothing [needs root]',
    async () => {
      const program = new Program(script, []);
      await vi.waitFor(() => expect(program.stdout).toContain('Now yours'), {
        timeout: 60_000,
        interval: 50,
      });
      const kubeconfigPath = /export KUBECONFIG=(\S+)/.exec(program.stdout)?.[1] ?? '';
      expect(readdirSync(join(kubeconfigPath, '..'))).toContain('kubeconfig');
      program.signal('SIGINT');
      expect((await program.ended).code).toBe(0);
    },
  );

  it.skipIf(!isRoot)('ends with 1 and says where when a step does not come true [needs root]', async () => {
    await using broken = await ScratchDirectory.make();
    const env = { PATH: withCommand(broken, 'mount', 'echo "mount: not today" >&2; exit 32') };
    const { code, stdout } = await new Program(script, ['--check'], { env }).ended;
    expect(code).toBe(1);
    expect(stdout).toMatch(/✗ NodeStage and NodePublish/);
    expect(stdout).toMatch(/failed at: .+\n$/);
  });

  it.skipIf(!isRoot)(
    'offers sudo where an ordinary user can have no user namespace [needs root to become one]',
    async () => {
      await using forbidden = await ScratchDirectory.make();
      const env = { HOME: tmpdir(), PATH: withCommand(forbidden, 'unshare', 'exit 1') };
      const { code, stdout, stderr } = await new Program(script, ['--check'], { uid: nobody, env }).ended;
      expect(code).toBe(2);
      expect(`${stdout}${stderr}`).toMatch(/as root it works:\n.*sudo .*scripts\/demo --check/);
    },
  );

  it('refuses a command line that makes no sense', async () => {
    const { code, stderr } = await new Program(script, ['--chek']).ended;
    expect(code).toBe(2);
    expect(stderr).toContain('--check');
  });
});
