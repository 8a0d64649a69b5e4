import { execa } from 'execa';
import { StorageError, messageOf } from '../model/errors.ts';

/** A command that could not be started, failed, or was stopped. The message has the last words of its stderr. */
export class CommandError extends StorageError {
  override name = 'CommandError';
  readonly argv: readonly string[];
  /** unset: it never ran, or a signal ended it */
  readonly exitCode: number | undefined;
  /** the last 4 KiB */
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly isMissing: boolean;
  readonly durationMs: number;

  constructor(message: string, outcome: Outcome) {
    super('host-failure', message, {
      facts: { command: outcome.argv.join(' '), exitCode: outcome.exitCode, durationMs: outcome.durationMs },
    });
    this.argv = outcome.argv;
    this.exitCode = outcome.exitCode;
    this.stderr = outcome.stderr;
    this.timedOut = outcome.timedOut;
    this.isMissing = outcome.isMissing;
    this.durationMs = outcome.durationMs;
  }
}

interface Outcome {
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly isMissing: boolean;
  readonly durationMs: number;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly input?: string;
  /** one of ours that the command has open as its standard input, instead of `input` */
  readonly descriptor?: number;
}

const stderrTailLength = 4096;
const killDelayMs = 5000;

/**
 * Runs a program of the host with fixed arguments, no shell and the C locale, and waits for its end.
 *
 * @param options.timeoutMs 30 s unless told; then SIGTERM, and SIGKILL 5 s later. The same when the signal aborts
 * @throws CommandError for any end but exit code 0; StorageError 'cancelled', or what the signal was aborted with
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<{ readonly stdout: string }> {
  throwIfAborted(options.signal, command);
  const timeoutMs = options.timeoutMs ?? 30_000;
  const result = await execa(command, args, {
    reject: false,
    env: { LC_ALL: 'C' },
    timeout: timeoutMs,
    forceKillAfterDelay: killDelayMs,
    cancelSignal: options.signal,
    ...inputOf(options),
  });
  if (!result.failed) return { stdout: result.stdout };
  if (result.isCanceled) throwIfAborted(options.signal, command);
  const outcome = {
    argv: [command, ...args],
    exitCode: result.exitCode,
    stderr: result.stderr.slice(-stderrTailLength),
    timedOut: result.timedOut,
    isMissing: result.code === 'ENOENT',
    durationMs: Math.round(result.durationMs),
  };
  throw new CommandError(
    describeFailure(command, outcome, { timeoutMs, endedBy: result.signal, cause: result.originalMessage }),
    outcome,
  );
}

function inputOf({ input, descriptor }: RunOptions) {
  // execa takes any descriptor, its types name those up to 9
  if (descriptor !== undefined) return { stdin: descriptor as 3 };
  return input === undefined ? { stdin: 'ignore' as const } : { input };
}

/** The sentence for people: what ended the command and the last thing that it said. */
export function describeFailure(
  command: string,
  outcome: Omit<Outcome, 'argv'>,
  more: {
    readonly timeoutMs: number;
    readonly endedBy: string | undefined;
    readonly cause: string | undefined;
  },
): string {
  if (outcome.isMissing) return `${command} is not installed on this node; install ${packageOf(command)}`;
  const said = lastWords(outcome.stderr);
  const suffix = said === '' ? '' : `: ${said}`;
  if (outcome.timedOut) return `${command} did not end within ${more.timeoutMs} ms and was stopped${suffix}`;
  if (more.endedBy !== undefined) return `${command} was ended by ${more.endedBy}${suffix}`;
  if (outcome.exitCode === undefined)
    return `${command} could not be started: ${more.cause ?? 'no reason given'}`;
  return `${command} failed with exit code ${outcome.exitCode}${suffix}`;
}

function lastWords(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  return lines
    .filter((line) => line !== '')
    .slice(-3)
    .join('; ');
}

const packages: Record<string, string> = {
  'mkfs.ext4': 'e2fsprogs',
  debugfs: 'e2fsprogs',
  filefrag: 'e2fsprogs',
  chattr: 'e2fsprogs',
  lsattr: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  tune2fs: 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_io: 'xfsprogs',
  xfs_quota: 'xfsprogs',
  xfs_growfs: 'xfsprogs',
  xfs_db: 'xfsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  btrfs: 'btrfs-progs',
  btrfstune: 'btrfs-progs',
  mount: 'mount',
  umount: 'mount',
  losetup: 'mount',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  fallocate: 'util-linux',
  flock: 'util-linux',
  fsfreeze: 'util-linux',
  blkid: 'util-linux',
  mknod: 'coreutils',
  cp: 'coreutils',
  sync: 'coreutils',
  getfattr: 'attr',
  setfattr: 'attr',
};

/** The Debian package that brings a command, for the message. */
function packageOf(command: string): string {
  const name = Object.hasOwn(packages, command) ? packages[command] : undefined;
  return name === undefined ? 'the package that brings it' : `the package ${name} (by its Debian name)`;
}

/** @throws the StorageError that the signal was aborted with, or 'cancelled' */
export function throwIfAborted(signal: AbortSignal, doing: string): void {
  if (!signal.aborted) return;
  if (signal.reason instanceof StorageError) throw signal.reason;
  throw new StorageError('cancelled', `${doing} was given up: ${messageOf(signal.reason)}`, {
    cause: signal.reason,
  });
}
