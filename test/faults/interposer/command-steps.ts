import commands, { type ChildProcess } from 'node:child_process';
import type { Steps } from './steps.ts';

/** Commands that look and change nothing. */
const looking = [
  /^(filefrag|getfattr|lsattr|blkid|flock|findmnt)\b/,
  /^losetup .*(--list|-j|--associated)/,
  /^btrfs .*\b(show|list|rootid)\b/,
];

/** Puts itself before the commands that the process starts. */
export function interposeCommands(steps: Steps): void {
  const functions = commands as unknown as { spawn: (...args: readonly unknown[]) => ChildProcess };
  const real = functions.spawn;
  functions.spawn = (file, args, ...rest) => {
    const words = [String(file).replace(/^.*\//, ''), ...(Array.isArray(args) ? args.map(String) : [])].join(
      ' ',
    );
    if (looking.some((pattern) => pattern.test(words))) return real(file, args, ...rest);
    const step = steps.begin(`command ${words}`);
    const child = real(file, args, ...rest);
    // with a container its commands end as well; without one they go on: each of both, turn by turn
    steps.underWay(step, () => step % 2 === 0 && child.kill('SIGKILL'));
    child.prependOnceListener('exit', () => steps.end(step));
    return child;
  };
}
