import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Loop devices and mounts below a directory, as texts: what a suite that used it must not leave behind. */
export function leftoversBelow(directory: string): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(directory));
  return [
    ...mounts.map((path) => `mount ${path}`),
    ...loopsBelow(directory).map((name) => `loop device ${name}`),
  ];
}

function loopsBelow(directory: string): string[] {
  const listing = execFileSync('losetup', ['--list', '--noheadings', '--raw', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  });
  return listing
    .split('\n')
    .filter((line) => line.slice(line.indexOf(' ') + 1).startsWith(directory))
    .map((line) => line.split(' ')[0] ?? '');
}

/** Takes away what a failed test left, innermost mounts first. */
export function clearLeftovers(directory: string): void {
  for (const left of leftoversBelow(directory)
    .filter((text) => text.startsWith('mount '))
    .toReversed()) {
    quietly('umount', ['--lazy', left.slice('mount '.length)]);
  }
  for (const name of loopsBelow(directory)) quietly('losetup', ['--detach', name]);
}

function quietly(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
  } catch {
    // gone already, or shown by the check at the end
  }
}
