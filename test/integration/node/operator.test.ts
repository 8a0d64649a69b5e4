import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clearLeftovers } from '../../support/host-leftovers.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import { isRoot, mountsNeedRoot } from '../../support/loop-world.ts';

const root = join(import.meta.dirname, '../../..');

describe.skipIf(!isRoot)(`the commands of operators, asked of a process of its own${mountsNeedRoot}`, () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'loam-operator-'));
  });
  afterEach(() => {
    clearLeftovers(folder);
    rmSync(folder, { recursive: true, force: true });
  });
  const start = () => LoamProcess.start({ folder, pools: [`p=${join(folder, 'pool')}`] });
  const loam = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    const entry = ['--disable-warning=ExperimentalWarning', join(root, 'src/main.ts')];
    const where = `--run-dir=${join(folder, 'run')}`;
    try {
      const { stdout, stderr } = await promisify(execFile)(
        join(root, 'node_modules/.bin/node'),
        [...entry, ...args, where],
        { timeout: 30_000 },
      );
      return { code: 0, out: stdout, err: stderr };
    } catch (error) {
      const {
        code = -1,
        stdout = '',
        stderr = '',
      } = error as { code?: number; stdout?: string; stderr?: string };
      return { code, out: stdout, err: stderr };
    }
  };

  it(
    'are answered, also by the process after one that was killed, and not after the end',
    { timeout: 180_000 },
    async () => {
      const socketPath = join(folder, 'run/operator.sock');
      const first = await start();
      try {
        expect(statSync(socketPath).mode & 0o777).toBe(0o600);
        expect(await loam('volumes')).toMatchObject({
          code: 0,
          out: expect.stringContaining('no volumes on node node-a') as unknown,
        });
      } finally {
        await first.kill();
      }
      expect(await loam('gc')).toMatchObject({
        code: 1,
        err: expect.stringContaining('does not listen') as unknown,
      });
      await using second = await start();
      const plan = await loam('gc', '--dry-run', '--output=json');
      expect(JSON.parse(plan.out)).toMatchObject({ node: 'node-a', findings: [] });
      expect(await loam('gc', '--remove=pvc-1', '--yes')).toMatchObject({
        code: 1,
        err: expect.stringContaining('volume pvc-1 is kept: no API server is configured') as unknown,
      });
      expect((await loam('gc', '--remove=pvc-1')).err).toContain('nothing was removed; say y, or give --yes');
      await second.terminate();
      expect(existsSync(socketPath)).toBe(false);
    },
  );
});
