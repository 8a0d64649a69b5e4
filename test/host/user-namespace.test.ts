import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clearLeftovers, leftoversBelow } from '../support/host-leftovers.ts';

const inNamespace = ['--user', '--map-root-user', '--mount'];

function whyNot(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'loam-user-'));
  try {
    execFileSync('unshare', [...inNamespace, 'mount', '--bind', folder, folder], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'user namespaces that can mount are not to be had';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const why = whyNot();

describe.skipIf(why !== undefined)(
  `in a user namespace${why === undefined ? '' : ` (skipped: ${why})`}`,
  () => {
    let base: string;
    beforeEach(() => {
      base = realpathSync(mkdtempSync(join(tmpdir(), 'loam-user-')));
    });
    afterEach(() => {
      clearLeftovers(base);
      rmSync(base, { recursive: true });
    });

    const live = (path: string, asUser: readonly string[] = []): unknown => {
      const program = join(import.meta.dirname, 'programs/life-in-a-namespace.ts');
      const inside = ['unshare', ...inNamespace, process.execPath, '--no-warnings', program, path];
      return JSON.parse(execFileSync('env', [...asUser, ...inside], { encoding: 'utf8' }));
    };
    const expected = {
      read: 'written',
      refusal: expect.stringContaining('EROFS') as unknown,
      users: [],
      // who is root outside can attach a device, but nobody can mount it
      loopback: {
        usable: false,
        detail: expect.stringMatching(/cannot be attached|permission denied/) as unknown,
      },
    };

    it('a directory lives its whole life, and loopback says what it lacks', () => {
      expect(live(base)).toEqual(expected);
      expect(leftoversBelow(base)).toEqual([]);
    });

    it.skipIf(process.getuid?.() !== 0)('a plain user can do the same (needs root to become one)', () => {
      chownSync(base, 65534, 65534);
      const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const detail: unknown = expect.stringContaining('loop devices cannot be attached');
      expect(live(base, asNobody)).toEqual({ ...expected, loopback: { usable: false, detail } });
    });

    it.skipIf(process.getuid?.() !== 0)('flags that the namespace has locked are kept (needs root)', () => {
      const locked = join(base, 'locked');
      mkdirSync(locked);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'nosuid,nodev,noexec,noatime', 'tmpfs', locked]);
      expect(live(locked)).toEqual(expected);
      execFileSync('umount', [locked]);
    });
  },
);
