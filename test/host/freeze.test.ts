import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ensureThawed, whileFrozen } from '../../src/host/freeze.ts';
import { thawImages } from '../../src/host/thaw-images.ts';
import { createImage } from '../../src/host/images.ts';
import { mountAt, readMounts } from '../../src/host/mountinfo.ts';
import { hideCommand } from '../support/hidden-command.ts';
import { ScratchPool, whyNoScratchPool } from '../support/scratch-pool.ts';

const why = whyNoScratchPool('ext4');
const signal = AbortSignal.timeout(120_000);

describe.skipIf(why !== '')(`a frozen file system${why}`, () => {
  let pool: ScratchPool;
  let mountPath: string;
  let writers: ChildProcess[];
  beforeEach(async () => {
    writers = [];
    pool = ScratchPool.make('plain');
    mkdirSync(pool.at('v1'));
    const image = pool.at('v1/image');
    await createImage(image, { sizeBytes: 64n << 20n, thick: false, signal });
    execFileSync('mkfs.ext4', ['-q', image]);
    mountPath = join(pool.basePath, 'mounted');
    mkdirSync(mountPath);
    execFileSync('mount', ['-o', 'loop', image, mountPath]);
  });
  afterEach(async () => {
    await ensureThawed([mountPath], signal).catch(() => {});
    await Promise.all(writers.map(gone));
    await pool.remove();
  });

  /** Somebody who writes there; waits in the kernel while it is frozen. */
  const startWriter = (): ChildProcess => {
    const writer = spawn('sh', ['-c', 'echo x > "$1"', 'sh', join(mountPath, `by-${writers.length}`)], {
      stdio: 'ignore',
    });
    writers.push(writer);
    return writer;
  };
  const waits = (writer: ChildProcess) => () => stateOf(writer.pid) === 'D';

  it('has its writers wait until the work is done, and not longer', async () => {
    const { result, frozenMs } = await whileFrozen(
      mountPath,
      async () => {
        const writer = startWriter();
        await expect.poll(waits(writer), { timeout: 5000, interval: 5 }).toBe(true);
        return writer;
      },
      { signal },
    );
    await gone(result);
    expect(result.exitCode).toBe(0);
    expect(frozenMs).toBeGreaterThan(0);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is thawed while what follows the work is done, and both have ended when that is told', async () => {
    let writer: ChildProcess | undefined;
    const done: string[] = [];
    const work = async () => {
      writer = startWriter();
      await expect.poll(waits(startWriter()), { timeout: 5000, interval: 5 }).toBe(true);
      done.push('work');
    };
    const afterwards = async () => {
      if (writer !== undefined) await gone(writer);
      done.push('afterwards');
    };
    await whileFrozen(mountPath, work, { signal, afterwards });
    expect(done).toEqual(['work', 'afterwards']);
    const failing = whileFrozen(mountPath, work, {
      signal,
      afterwards: () => Promise.reject(new Error('no')),
    });
    await expect(failing).rejects.toThrow('no');
    expect(holders(mountPath)).toEqual([]);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is thawed when the work fails', async () => {
    const work = () => Promise.reject(new Error('no'));
    await expect(whileFrozen(mountPath, work, { signal })).rejects.toThrow('no');
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it.each([
    ['the process', (pid: number) => process.kill(pid, 'SIGKILL')],
    ['its whole process group', (pid: number) => process.kill(-pid, 'SIGKILL')],
  ])('is thawed when %s that froze it is killed', async (_name, kill) => {
    const program = join(import.meta.dirname, 'programs/hold-freeze.ts');
    const child = spawn(process.execPath, ['--no-warnings', program, mountPath], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    const ended = gone(child);
    try {
      await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
      const writer = startWriter();
      await expect.poll(waits(writer), { timeout: 5000, interval: 5 }).toBe(true);
      kill(child.pid ?? 0);
      await ended;
      await expect.poll(() => writer.exitCode, { timeout: 5000, interval: 5 }).toBe(0);
      await expect.poll(() => ensureThawed([mountPath], signal)).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('is thawed by its holder after a time, and what was done meanwhile is not believed', async () => {
    const writer = whileFrozen(
      mountPath,
      async () => {
        const started = startWriter();
        await gone(started);
      },
      { signal, holdWithinMs: 300 },
    );
    await expect(writer).rejects.toThrow(/was frozen for 300 ms, and thawed before the work was done/);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is thawed where its holder is killed, and what was done meanwhile is not believed', async () => {
    const frozen = whileFrozen(
      mountPath,
      async () => {
        for (const pid of holders(mountPath)) process.kill(pid, 'SIGKILL');
      },
      { signal },
    );
    await expect(frozen).rejects.toThrow(/was let go of before the work was done/);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is thawed where the command that froze it failed afterwards, or was killed', async () => {
    const work = () => Promise.reject(new Error('must not run'));
    const freeze = `${realPathOf('fsfreeze')} "$@"`;
    for (const end of ['echo "Input/output error" >&2; exit 5', 'kill -KILL $$']) {
      using _ = hideCommand('fsfreeze', `case $1 in --freeze) ${freeze}; ${end} ;; esac; exec ${freeze}`);
      await expect(whileFrozen(mountPath, work, { signal })).rejects.toThrow(/cannot be frozen/);
      expect(await ensureThawed([mountPath], signal)).toEqual([]);
    }
  });

  it('is thawed in the end where thawing fails at first', async () => {
    const counter = join(pool.basePath, 'failed');
    const real = realPathOf('fsfreeze');
    // the holder's own try, and some of those after it
    const script = `case $1 in --unfreeze)
      [ "$(wc -l < ${counter} 2>/dev/null || echo 0)" -ge 4 ] || { echo >> ${counter}; echo 'Input/output error' >&2; exit 5; } ;;
    esac
    exec ${real} "$@"`;
    using _ = hideCommand('fsfreeze', script);
    await expect(whileFrozen(mountPath, () => Promise.resolve(), { signal })).rejects.toThrow(
      /was let go of/,
    );
    // the next who comes thaws it first
    await whileFrozen(mountPath, () => Promise.resolve(), { signal });
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is given up where freezing takes too long, and thaws by itself then', async () => {
    const work = () => Promise.reject(new Error('must not run'));
    await expect(whileFrozen(mountPath, work, { signal, freezeWithinMs: 1 })).rejects.toThrow(
      /could not be frozen within 1 ms, .*try again when it is less busy/,
    );
    await expect.poll(() => holders(mountPath), { timeout: 10_000, interval: 10 }).toEqual([]);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('cannot be unmounted meanwhile, and is thawed by way of its root, whatever is mounted over that', async () => {
    const unmount = () => execFileSync('umount', [mountPath], { stdio: 'pipe' });
    const cover = async () => {
      // frozen and nowhere mounted, it would hang whoever mounts it next
      expect(unmount).toThrow(/busy/);
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mountPath]);
    };
    await whileFrozen(mountPath, cover, { signal });
    unmount();
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
    const writer = startWriter();
    await expect.poll(() => writer.exitCode, { timeout: 5000, interval: 5 }).toBe(0);
  });

  it('is nothing to who was to freeze what is mounted there no more', async () => {
    // where a volume was staged a moment ago, and the node's own file system is now
    const staged = join(mountPath, 'staged');
    mkdirSync(staged);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', staged]);
    const mountId = mountAt(await readMounts(), staged)?.id ?? 0;
    execFileSync('umount', [staged]);
    const work = vi.fn(() => Promise.resolve());
    await expect(whileFrozen(staged, work, { signal, mountId })).rejects.toThrow(
      `the file system at ${staged} cannot be frozen: it was unmounted before; try again`,
    );
    expect(work).not.toHaveBeenCalled();
    const itself = mountAt(await readMounts(), mountPath)?.id ?? 0;
    await whileFrozen(mountPath, work, { signal, mountId: itself });
    expect(work).toHaveBeenCalledOnce();
  });

  it('is frozen for one after another, and who goes away meanwhile does not wait', async () => {
    const leaving = new AbortController();
    let atOnce = 0;
    const work = async () => {
      atOnce += 1;
      expect(atOnce).toBe(1);
      leaving.abort(new Error('gone'));
      await sleep(20);
      atOnce -= 1;
    };
    const first = whileFrozen(mountPath, work, { signal });
    const left = whileFrozen(mountPath, work, { signal: leaving.signal });
    const others = [1, 2].map(() => whileFrozen(mountPath, work, { signal }));
    await expect(left).rejects.toThrow('gone');
    expect(await Promise.all([first, ...others])).toHaveLength(3);
    expect(await ensureThawed([mountPath], signal)).toEqual([]);
  });

  it('is not frozen twice, and not thawed by who did not freeze it', async () => {
    execFileSync('fsfreeze', ['--freeze', mountPath]);
    await expect(whileFrozen(mountPath, () => Promise.resolve(), { signal })).rejects.toThrow(
      /cannot be frozen: .*busy/,
    );
    expect(await ensureThawed([mountPath], signal)).toEqual([mountPath]);
  });

  it('is found by its image when it was left frozen, as by a container that was killed', async () => {
    const isOurs = (path: string) => path === pool.at('v1/image');
    execFileSync('fsfreeze', ['--freeze', mountPath]);
    expect(await thawImages(() => false, signal)).toEqual([]);
    expect(await thawImages(isOurs, signal)).toEqual([mountPath]);
    expect(await thawImages(isOurs, signal)).toEqual([]);
  });
});

/** Those who hold a freeze of this path. */
function holders(mountPath: string): number[] {
  const listing = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' });
  return listing
    .split('\n')
    .filter((line) => line.includes('fsfreeze') && line.includes(mountPath))
    .map((line) => Number.parseInt(line, 10));
}

function stateOf(pid: number | undefined): string | undefined {
  return /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
}

async function gone(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) await sleep(5);
}

function realPathOf(command: string): string {
  return execFileSync('which', [command], { encoding: 'utf8' }).trim();
}
