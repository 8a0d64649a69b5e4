import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Outcome } from './guest/report.ts';
import { reportPrefix } from './guest/report.ts';
import type { Kernel } from './kernel.ts';

const emulator = 'qemu-system-x86_64';

/** What keeps the machine from being started here, for the tests' names; '' where it can be. */
export function whyNoMachine(): string {
  if (process.arch !== 'x64') return ' (skipped: made for x64)';
  for (const program of [emulator, 'busybox', 'xfs_quota', 'getfattr', 'apt-get']) {
    try {
      execFileSync('which', [program], { stdio: 'ignore' });
    } catch {
      return ` (skipped: ${program} is not installed)`;
    }
  }
  return '';
}

/** What a machine has besides. */
export interface MachineExtras {
  readonly args?: readonly string[];
  readonly onLine?: (line: string) => void;
  /** ends it at once when it aborts */
  readonly powerCut?: AbortSignal;
}

/**
 * Boots a machine in software, with one processor, no network and no disk but in `extras`, and waits until it powers off.
 *
 * @returns what its checks reported, by name, and all that it said
 */
export async function runMachine(
  kernel: Kernel,
  archivePath: string,
  timeoutMs: number,
  extras: MachineExtras = {},
): Promise<{ readonly outcomes: ReadonlyMap<string, Outcome>; readonly console: string }> {
  const outcomes = new Map<string, Outcome>();
  const lines: string[] = [];
  const args = [
    '-accel',
    'tcg',
    '-cpu',
    'max',
    '-smp',
    '1',
    '-m',
    '1536',
    '-nic',
    'none',
    '-nographic',
    '-no-reboot',
  ];
  const command = 'console=ttyS0 quiet panic=-1 mitigations=off';
  const machine = spawn(
    emulator,
    [
      ...args,
      ...(extras.args ?? []),
      '-kernel',
      kernel.imagePath,
      '-initrd',
      archivePath,
      '-append',
      command,
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    },
  );
  const kill = () => machine.kill('SIGKILL');
  process.once('exit', kill);
  extras.powerCut?.addEventListener('abort', kill, { once: true });
  const ended = once(machine, 'exit');
  for await (const line of createInterface({ input: machine.stdout })) {
    lines.push(line);
    extras.onLine?.(line);
    const at = line.indexOf(reportPrefix);
    if (at === -1) continue;
    const outcome = JSON.parse(line.slice(at + reportPrefix.length)) as Outcome;
    outcomes.set(outcome.name, outcome);
  }
  await ended;
  process.off('exit', kill);
  return { outcomes, console: lines.join('\n') };
}
