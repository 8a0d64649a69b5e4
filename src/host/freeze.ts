import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { messageOf, StorageError } from '../model/errors.ts';
import { CommandError, run } from './run.ts';

export interface FreezeOptions {
  readonly signal: AbortSignal;
  /** how long freezing may take, which first writes what is dirty; 5 s unless told */
  readonly freezeWithinMs?: number;
  /** how long it may stay frozen, after which the holder thaws it by itself; 10 s unless told */
  readonly holdWithinMs?: number;
  /** of mountinfo: what has to be mounted there still when its turn comes; unset: anything, or a directory of what lies below */
  readonly mountId?: number;
  /** what follows the work and need not be waited for by the writers: done while it thaws */
  readonly afterwards?: () => Promise<void>;
}

// It has the root open for as long as it holds: an unmount is refused meanwhile, since what is frozen and nowhere mounted stays frozen,
// and nobody finds it there to thaw it; and what is mounted over it or renamed does not lead the thaw elsewhere. Where much is dirty it
// is written once before the freeze, so that little is left to be written while everybody waits. The end of its input, or the time,
// ends the wait; signals that are meant for us do not, nor does a reader of its words who is gone. What was unmounted before it had its
// root open is nothing to it: the path would be of the node's own file system then.
const holder = `trap '' HUP INT TERM PIPE
at=/proc/self/fd/3
exec 3< "$1" || exit 3
while read -r name id; do
  [ "$name" = mnt_id: ] && [ "\${4:-$id}" != "$id" ] && echo 'it was unmounted before; try again' >&2 && exit 6
done < /proc/self/fdinfo/3
[ "$3" != sync ] || sync --file-system "$at" || exit 3
fsfreeze --freeze "$at" || exit 3
echo frozen
timeout --signal=KILL "$2" cat > /dev/null
waited=$?
fsfreeze --unfreeze "$at" || exit 4
[ $waited = 0 ] || exit 5`;

/**
 * Freezes the file system mounted at a path for as long as some work runs: its writers wait, and what is on its disk is what a mount
 * would find after it had been unmounted. A process in a session of its own holds the freeze and thaws when its input ends, so that
 * whatever ends us (kill -9, of our process group too) leaves nobody waiting.
 *
 * Those of one path wait for each other; none is nested in another.
 *
 * @returns what the work returned; it was frozen from before the work began until after it ended. Nothing may be made of what was done
 *   before this is told
 * @throws StorageError 'host-failure' when it cannot be frozen, or not in time; it is thawed, or thaws as soon as it can
 */
export async function whileFrozen<T>(
  mountPath: string,
  work: () => Promise<T>,
  options: FreezeOptions,
): Promise<{ readonly result: T; readonly frozenMs: number }> {
  return inTurn(mountPath, options.signal, () => holdFrozen(mountPath, work, options));
}

/** Where a freeze of ours is under way, and when that is over. */
const turns = new Map<string, Promise<void>>();

/** One after another: the kernel refuses a second freeze, and two copies of one source are both right. */
async function inTurn<T>(mountPath: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  for (let other = turns.get(mountPath); other !== undefined; other = turns.get(mountPath)) {
    await Promise.race([other, once(signal, 'abort')]);
    signal.throwIfAborted();
  }
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  turns.set(mountPath, over);
  try {
    return await act();
  } finally {
    turns.delete(mountPath);
    end();
  }
}

async function holdFrozen<T>(
  mountPath: string,
  work: () => Promise<T>,
  { signal, freezeWithinMs = 5000, holdWithinMs = 10_000, mountId, afterwards }: FreezeOptions,
): Promise<{ readonly result: T; readonly frozenMs: number }> {
  await thawLeft(mountPath);
  const hold = (holdWithinMs / 1000).toString();
  const first = unwrittenBytes() > littleBytes ? 'sync' : '';
  const only = mountId?.toString() ?? '';
  const child = spawn('sh', ['-c', holder, 'sh', mountPath, hold, first, only], {
    detached: true,
    env: commandEnvironment(),
  });
  const ended = endOf(child);
  // its end is told by its exit; a pipe that broke with it says nothing more
  child.stdin.on('error', () => {});
  const words: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => words.push(text));
  try {
    await isFrozen(child, ended, { mountPath, freezeWithinMs, signal, words });
  } catch (error) {
    // where the kernel is still at it, it is thawed right after
    child.stdin.end();
    // a command that failed, or was killed, may have frozen it all the same; where it is busy, it is somebody else's
    const tidied = ended.then((code) => (isThawedBy(code) || isBusy(words) ? undefined : thaw(mountPath)));
    if (isEnded(child)) await tidied;
    throw error;
  }
  const startMs = performance.now();
  const thawed = ended.then((code) => ({ code, frozenMs: performance.now() - startMs }));
  let result: T;
  try {
    result = await work();
    child.stdin.end();
    await afterwards?.();
  } catch (error) {
    child.stdin.end();
    if (!isThawedBy((await thawed).code)) await thaw(mountPath);
    throw error;
  }
  const { code, frozenMs } = await thawed;
  if (code === 0) return { result, frozenMs };
  await thaw(mountPath);
  throw failure(
    mountPath,
    code === 5
      ? `was frozen for ${holdWithinMs} ms, and thawed before the work was done; try again when the disk is less busy`
      : `was let go of before the work was done: ${words.join('').trim()}`,
  );
}

/** What could not be thawed when it should have been: nobody else froze it, so that the next who comes may. */
const left = new Set<string>();

/** Never rejects: why it was frozen, and what became of that, is worth more than a second error. */
async function thaw(mountPath: string): Promise<void> {
  left.add(mountPath);
  for (let turn = 0; turn < thawTries && left.has(mountPath); turn += 1)
    await thawLeft(mountPath).catch(() => {});
}

/** @throws StorageError where it cannot be thawed still */
async function thawLeft(mountPath: string): Promise<void> {
  if (!left.has(mountPath)) return;
  await ensureThawed([mountPath], AbortSignal.timeout(30_000));
  left.delete(mountPath);
}

const thawTries = 3;

/** Of the holder's exit codes: it thawed what it froze, or froze nothing. */
function isThawedBy(code: number | undefined): boolean {
  return code === 0 || code === 5 || code === 6;
}

function isEnded({ exitCode, signalCode }: ChildProcessWithoutNullStreams): boolean {
  return exitCode !== null || signalCode !== null;
}

function isBusy(words: readonly string[]): boolean {
  return /resource busy/i.test(words.join(''));
}

/** Written in some hundredths of a second by any disk. */
const littleBytes = 16n << 20n;

/** What this whole node has yet to write: more than any one file system has. Read at once, since /proc never waits for a disk. */
function unwrittenBytes(): bigint {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kibibytes = [...text.matchAll(/^(?:Dirty|Writeback): +(\d+) kB$/gm)].map((row) =>
    BigInt(row[1] ?? 0),
  );
  return kibibytes.reduce((sum, value) => sum + value * 1024n, 0n);
}

function commandEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C' };
}

/** The exit code; undefined where a signal ended it, or it never ran. */
async function endOf(child: ChildProcessWithoutNullStreams): Promise<number | undefined> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(undefined));
    child.once('close', (code) => resolve(code ?? undefined));
  });
}

async function isFrozen(
  child: ChildProcessWithoutNullStreams,
  ended: Promise<number | undefined>,
  options: {
    readonly mountPath: string;
    readonly freezeWithinMs: number;
    readonly signal: AbortSignal;
    readonly words: readonly string[];
  },
): Promise<void> {
  const { mountPath, freezeWithinMs, signal, words } = options;
  const waiting = new AbortController();
  const timer = setTimeout(() => waiting.abort(), freezeWithinMs);
  const patience = AbortSignal.any([signal, waiting.signal]);
  try {
    const frozen = once(child.stdout, 'data', { signal: patience }).then(() => 'frozen' as const);
    frozen.catch(() => {});
    if ((await Promise.race([frozen, ended])) === 'frozen') return;
  } catch (error) {
    signal.throwIfAborted();
    if (!waiting.signal.aborted) throw failure(mountPath, messageOf(error));
    throw failure(
      mountPath,
      `could not be frozen within ${freezeWithinMs} ms, since its disk has so much to write; its writers go on, try again when it is less busy`,
    );
  } finally {
    clearTimeout(timer);
  }
  throw failure(mountPath, `cannot be frozen: ${words.join('').trim()}`);
}

function failure(mountPath: string, what: string): StorageError {
  return new StorageError('host-failure', `the file system at ${mountPath} ${what}`);
}

/**
 * Thaws what is frozen of some mounted file systems; one that is not stays as it is.
 *
 * @returns the paths of those that were frozen
 */
export async function ensureThawed(mountPaths: readonly string[], signal: AbortSignal): Promise<string[]> {
  const thawed: string[] = [];
  for (const path of mountPaths) {
    try {
      await run('fsfreeze', ['--unfreeze', path], { signal });
      thawed.push(path);
    } catch (error) {
      const isThawed = error instanceof CommandError && /invalid argument/i.test(error.stderr);
      if (!isThawed) throw error;
    }
  }
  return thawed;
}
