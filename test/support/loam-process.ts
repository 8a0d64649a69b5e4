import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChildProgram } from './child-program.ts';
import { freePorts } from './free-ports.ts';

const projectRoot = join(import.meta.dirname, '../..');
/** The flags of the image's entry point: they are part of what is measured. */
export const imageFlags = ['--max-semi-space-size=1', '--optimize-for-size', '--v8-pool-size=1', '--no-opt'];

interface LoamOptions {
  /** `node` unless told; a controller has no use for pools */
  readonly role?: 'node' | 'controller' | 'all';
  /** sockets, state and logs go below it */
  readonly folder: string;
  /** as the flag takes them; their folders are made where they are missing */
  readonly pools: readonly string[];
  readonly kubeconfigPath?: string;
  readonly nodeName?: string;
  /** the esbuild bundle, as in the image, instead of the sources */
  readonly bundled?: boolean;
  readonly flags?: readonly string[];
  /** how long it may take to be ready or served; 30 s */
  readonly timeoutMs?: number;
  /** Node's own flags */
  readonly nodeFlags?: readonly string[];
  /** beside the test's own */
  readonly env?: Readonly<Record<string, string>>;
  /** unset: until `/readyz` says so; else until anything is served there */
  readonly until?: 'ready' | 'served';
}

/** A real `loam node`, or another role, in a process of its own, that tests may kill and start again on the same folder. */
export class LoamProcess implements AsyncDisposable {
  readonly csiSocketPath: string;
  readonly observeAddress: string;
  readonly #program: ChildProgram;

  private constructor(program: ChildProgram, csiSocketPath: string, observeAddress: string) {
    this.#program = program;
    this.csiSocketPath = csiSocketPath;
    this.observeAddress = observeAddress;
  }

  /** Resolves when `/readyz` says so: socket served, pools recovered, watches synced. */
  static async start(options: LoamOptions): Promise<LoamProcess> {
    const { folder, pools, kubeconfigPath, nodeName = 'node-a', bundled = false, flags = [] } = options;
    const { role = 'node', nodeFlags = [], env = {}, timeoutMs = 30_000 } = options;
    mkdirSync(folder, { recursive: true });
    for (const pool of pools) mkdirSync(pool.replace(/^[^=]*=|,.*$/g, ''), { recursive: true });
    const [port = 0] = await freePorts(1);
    const csiSocketPath = join(folder, 'csi.sock');
    const observeAddress = `127.0.0.1:${port}`;
    const entry = bundled
      ? [...imageFlags, join(projectRoot, 'dist/loam.mjs')]
      : ['--disable-warning=ExperimentalWarning', join(projectRoot, 'src/main.ts')];
    const program = new ChildProgram(
      join(projectRoot, 'node_modules/.bin/node'),
      [
        ...nodeFlags,
        ...entry,
        role,
        ...pools.map((pool) => `--pool=${pool}`),
        `--node-name=${nodeName}`,
        `--csi-socket=${csiSocketPath}`,
        `--run-dir=${join(folder, 'run')}`,
        `--state-dir=${join(folder, 'state')}`,
        `--observe=${observeAddress}`,
        ...(kubeconfigPath === undefined ? ['--no-kube'] : [`--kubeconfig=${kubeconfigPath}`]),
        ...flags,
      ],
      { name: 'loam', logPath: join(folder, 'loam.log'), env },
    );
    const loam = new LoamProcess(program, csiSocketPath, observeAddress);
    await program.whenReady(async () => {
      const { ok } = await fetch(`http://${observeAddress}/readyz`);
      return ok || options.until === 'served';
    }, timeoutMs);
    return loam;
  }

  get pid(): number | undefined {
    return this.#program.pid;
  }

  /** Resolves when it has ended, whoever ended it. */
  get exited(): Promise<void> {
    return this.#program.exited;
  }

  /** kill -9 */
  async kill(): Promise<void> {
    await this.#program.kill();
  }

  /** SIGTERM, and what the process does then. */
  async terminate(): Promise<void> {
    await this.#program.terminate();
  }

  /** unset while it runs, and where a signal ended it */
  get exitCode(): number | null {
    return this.#program.exitCode;
  }

  /** What `/readyz` or `/healthz` say. */
  async status(
    of: 'readyz' | 'healthz' = 'readyz',
  ): Promise<{ readonly ok: boolean; readonly text: string }> {
    const response = await fetch(`http://${this.observeAddress}/${of}`);
    return { ok: response.ok, text: await response.text() };
  }

  logTail(lines?: number): string {
    return this.#program.logTail(lines);
  }

  async metrics(): Promise<string> {
    return (await fetch(`http://${this.observeAddress}/metrics`)).text();
  }

  /** Resident and anonymous memory in MiB. */
  async memoryMiB(): Promise<{ resident: number; anonymous: number }> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    const of = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024;
    return { resident: of('VmRSS'), anonymous: of('RssAnon') };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.kill();
  }
}
