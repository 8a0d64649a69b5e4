import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** util-linux's setpriv has the kernel end the program when the test process dies, however that dies. */
const guard = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] : [];

/** A server that a test runs, with its output in a file. */
export class ChildProgram {
  readonly name: string;
  readonly logPath: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  constructor(
    command: string,
    args: readonly string[],
    options: {
      readonly name: string;
      readonly logPath: string;
      /** beside this process's own */
      readonly env?: Readonly<Record<string, string>>;
    },
  ) {
    this.name = options.name;
    this.logPath = options.logPath;
    const log = openSync(options.logPath, 'a');
    const [program = command, ...rest] = [...guard, command, ...args];
    const env = { ...process.env, ...options.env };
    this.#child = spawn(program, rest, { stdio: ['ignore', log, log], env });
    closeSync(log);
    running.add(this.#child);
    this.#exited = new Promise<void>((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => resolve());
    }).then(() => {
      running.delete(this.#child);
    });
  }

  /** unset while it runs, and where a signal ended it */
  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Resolves when it has ended, whoever ended it. */
  get exited(): Promise<void> {
    return this.#exited;
  }

  get isRunning(): boolean {
    return running.has(this.#child);
  }

  /** Waits until `isReady` says so; fails with the end of the log when the program ends first or the time is up. */
  async whenReady(isReady: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const endMs = Date.now() + timeoutMs;
    while (this.isRunning && Date.now() < endMs) {
      if (await isReady().catch(() => false)) return;
      await sleep(50);
    }
    const what = this.isRunning ? `was not ready within ${timeoutMs / 1000} s` : 'ended before it was ready';
    throw new Error(`${this.name} ${what}:\n${this.logTail()}`);
  }

  logTail(lines = 15): string {
    return readFileSync(this.logPath, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its data is thrown away, so there is nothing that it would have to do before it ends. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** SIGTERM; resolves when it has ended. */
  async terminate(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }
}
