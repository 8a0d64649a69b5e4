import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LoamProcess } from '../support/loam-process.ts';
import { type InterposerPlan, type Moment, parseSteps, planVariable, type Step } from './interposer/plan.ts';

const preload = fileURLToPath(new URL('interposer/preload.ts', import.meta.url));

export interface Kill {
  /** the step that is its last one */
  readonly at: number;
  readonly moment: Moment;
}

interface SupervisedOptions {
  readonly folder: string;
  readonly poolPath: string;
  readonly kubeconfigPath: string;
  readonly driverName: string;
  /** for the head of its PATH */
  readonly commandsPath: string;
  /** where compiled code is kept, which starts the next process sooner */
  readonly cachePath: string;
  /** of the first lives, in order; later ones are not ended by themselves */
  readonly kills: readonly Kill[];
}

/** A real node process that is started again whenever it ends, as a kubelet does with a container. */
export class SupervisedNode implements AsyncDisposable {
  /** kill -9, by the interposer or by the test */
  deaths = 0;
  readonly #options: SupervisedOptions;
  readonly #kills: Kill[];
  #lives = 0;
  #process: LoamProcess | undefined;
  #isStopping = false;
  #power: Promise<void> | undefined;
  #failure: Error | undefined;
  #running: Promise<void> = Promise.resolve();

  private constructor(options: SupervisedOptions) {
    this.#options = options;
    this.#kills = [...options.kills];
  }

  /** Does not wait until anything is served: a process that dies at its first step never serves. */
  static start(options: SupervisedOptions): SupervisedNode {
    const node = new SupervisedNode(options);
    node.#running = node.#supervise();
    return node;
  }

  get csiSocketPath(): string {
    return join(this.#options.folder, 'csi.sock');
  }

  get isUp(): boolean {
    return this.#process !== undefined;
  }

  async isReady(): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure;
    return (await this.#process?.status().catch(() => undefined))?.ok === true;
  }

  /** What the pools' room went to, as the present life counts. */
  async account(): Promise<string> {
    const text = (await this.#process?.metrics()) ?? '';
    return text
      .split('\n')
      .filter((line) => line.startsWith('loam_pool_') && !line.endsWith(' 0'))
      .join('\n');
  }

  /** What the n-th life did, from 0. */
  stepsOf(life: number): readonly Step[] {
    try {
      return parseSteps(readFileSync(this.#stepsPath(life), 'utf8'));
    } catch {
      return [];
    }
  }

  /** Of the present life, kill -9; the next one comes by itself. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  /** The machine goes down, and does not come back before `powerOn`. */
  async powerOff(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#power = promise;
    this.powerOn = () => {
      this.#power = undefined;
      resolve();
    };
    while (this.#process !== undefined) {
      await this.#process.kill();
      await sleep(10);
    }
  }

  powerOn: () => void = () => {};

  /** No life is ended by the interposer any more. */
  spare(): void {
    this.#kills.length = 0;
  }

  /** A share of all steps on the disk fails from now on; 0: none. */
  async failDisk(share: number, seed: number): Promise<void> {
    if (share === 0) await rm(this.#diskFaultsPath, { force: true });
    else await writeFile(this.#diskFaultsPath, JSON.stringify({ share, seed }));
  }

  /** how many steps on the disk failed as told */
  get diskFaultsMet(): number {
    try {
      return readFileSync(`${this.#diskFaultsPath}.met`, 'utf8').split('\n').length - 1;
    } catch {
      return 0;
    }
  }

  logTail(lines = 60): string {
    try {
      return readFileSync(join(this.#options.folder, 'loam.log'), 'utf8')
        .trimEnd()
        .split('\n')
        .slice(-lines)
        .join('\n');
    } catch {
      return '';
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    this.powerOn();
    await this.#process?.kill();
    await this.#running;
  }

  async #supervise(): Promise<void> {
    try {
      while (!this.#isStopping) {
        await this.#power;
        this.#process = await this.#live(this.#kills.shift());
        // told to stop while it started
        if (this.#isStopping || this.#power !== undefined) await this.#process?.kill();
        await this.#process?.exited;
        this.#process = undefined;
        if (!this.#isStopping) this.deaths += 1;
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
  }

  /** @returns undefined where it died before it served anything */
  async #live(kill: Kill | undefined): Promise<LoamProcess | undefined> {
    const { folder, poolPath, kubeconfigPath, driverName, commandsPath, cachePath } = this.#options;
    const plan: InterposerPlan = {
      stepsPath: this.#stepsPath(this.#lives),
      diskFaultsPath: this.#diskFaultsPath,
      ...(kill === undefined ? {} : { killAt: kill.at, moment: kill.moment }),
    };
    this.#lives += 1;
    try {
      return await LoamProcess.start({
        folder,
        pools: [`p=${poolPath},discover=found:16Mi`],
        kubeconfigPath,
        until: 'served',
        timeoutMs: 120_000,
        nodeFlags: ['--import', preload],
        env: {
          [planVariable]: JSON.stringify(plan),
          PATH: `${commandsPath}:${process.env['PATH'] ?? ''}`,
          NODE_COMPILE_CACHE: cachePath,
        },
        flags: [`--driver-name=${driverName}`, '--scrub-rate=0', '--remove-rate=0', '--inline-max-size=64Mi'],
      });
    } catch (error) {
      if (error instanceof Error && error.message.includes('ended before it was ready')) return undefined;
      throw error;
    }
  }

  #stepsPath(life: number): string {
    return join(this.#options.folder, `steps-${life}`);
  }

  get #diskFaultsPath(): string {
    return join(this.#options.folder, 'disk-faults');
  }
}
