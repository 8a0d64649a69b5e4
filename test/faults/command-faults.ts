import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The commands by which volumes are made, mounted, grown, copied and erased. */
export const failingCommands = [
  'mkfs.ext4',
  'mkfs.xfs',
  'losetup',
  'mount',
  'umount',
  'resize2fs',
  'e2fsck',
  'tune2fs',
  'debugfs',
  'fallocate',
  'cp',
  'xfs_io',
  'sync',
  'fsfreeze',
  'unshare',
  'chattr',
  'mknod',
  'filefrag',
  'btrfs',
] as const;
export type FailingCommand = (typeof failingCommands)[number];

export const commandFailures = ['before', 'after', 'killed'] as const;
export type CommandFailure = (typeof commandFailures)[number];

/** A folder for the head of a program's PATH, with a script for each command that fails when told, else is the command itself. */
export class CommandFaults {
  readonly path: string;
  readonly #plans: string;

  constructor(folder: string) {
    this.path = join(folder, 'bin');
    this.#plans = join(folder, 'plans');
    for (const each of [this.path, this.#plans]) mkdirSync(each, { recursive: true });
    const realPath = process.env['PATH'] ?? '';
    for (const name of failingCommands) {
      writeFileSync(join(this.path, name), scriptOf(name, this.#plans, realPath));
      chmodSync(join(this.path, name), 0o755);
    }
  }

  /** The next run of the command fails: before it did anything, after it did all, or in the middle by a signal. */
  failNext(command: FailingCommand, how: CommandFailure): void {
    writeFileSync(join(this.#plans, command), how);
  }

  /** how many of them were met */
  get met(): number {
    try {
      return readFileSync(join(this.#plans, 'met'), 'utf8').split('\n').length - 1;
    } catch {
      return 0;
    }
  }

  clear(): void {
    for (const command of failingCommands) rmSync(join(this.#plans, command), { force: true });
  }
}

function scriptOf(command: string, plans: string, realPath: string): string {
  const plan = join(plans, command);
  return `#!/bin/sh
export PATH='${realPath}'
if [ -e '${plan}' ] && mv '${plan}' '${plan}'.$$ 2>/dev/null; then
  read -r how < '${plan}'.$$ || true
  rm -f '${plan}'.$$
  echo '${command}' "$how" >> '${join(plans, 'met')}'
  case $how in
    before) echo '${command}: No space left on device (as told)' >&2; exit 1 ;;
    after) ${command} "$@"; echo '${command}: Input/output error (as told)' >&2; exit 5 ;;
    killed) timeout --signal=KILL 0.003 ${command} "$@"; kill -KILL $$ ;;
  esac
fi
exec ${command} "$@"
`;
}
