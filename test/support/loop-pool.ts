import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory } from '../../src/host/directory.ts';

const makers = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
} as const;

const mounted = new Set<string>();
process.once('exit', () => {
  for (const path of mounted) unmount(path);
});

function unmount(path: string): void {
  try {
    execFileSync('umount', ['-R', path], { stdio: 'ignore' });
  } catch {
    execFileSync('umount', ['-R', '-l', path], { stdio: 'ignore' });
  }
}

/** Why tests with such a pool cannot run here; '' where they can. */
export function whyNoLoopPool(fsType: keyof typeof makers): string {
  if (process.geteuid?.() !== 0) return ' (skipped: needs root)';
  try {
    execFileSync('which', [makers[fsType][0], 'losetup', 'filefrag'], { stdio: 'ignore' });
    return '';
  } catch {
    return ` (skipped: ${makers[fsType][0]} is not installed)`;
  }
}

/** A file system of its own on an image, mounted for one test, whose raw bytes can be looked at. */
export class LoopPool implements AsyncDisposable {
  readonly path: string;
  readonly #base: string;
  #directory: Directory | undefined;

  private constructor(base: string) {
    this.#base = base;
    this.path = join(base, 'pool');
  }

  static async make(fsType: keyof typeof makers, sizeMiB = fsType === 'ext4' ? 128 : 320): Promise<LoopPool> {
    const pool = new LoopPool(mkdtempSync(join(tmpdir(), 'loam-pool-')));
    try {
      mkdirSync(pool.path);
      execFileSync('truncate', ['-s', `${sizeMiB}M`, pool.imagePath]);
      const [maker, ...flags] = makers[fsType];
      execFileSync(maker, [...flags, pool.imagePath], { stdio: 'ignore' });
      await pool.mount();
    } catch (error) {
      await pool[Symbol.asyncDispose]();
      throw error;
    }
    return pool;
  }

  get imagePath(): string {
    return join(this.#base, 'image');
  }

  get directory(): Directory {
    if (this.#directory === undefined) throw new Error('the pool is not mounted');
    return this.#directory;
  }

  at(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  async mount(): Promise<void> {
    execFileSync('mount', ['-o', 'loop', this.imagePath, this.path]);
    mounted.add(this.path);
    this.#directory = await Directory.open(this.path);
  }

  async unmount(): Promise<void> {
    await this.#directory?.close();
    this.#directory = undefined;
    if (mounted.delete(this.path)) unmount(this.path);
  }

  /** How often some text lies on the image, after everything was written to it. */
  rawCount(text: string): number {
    execFileSync('sync', ['-f', this.imagePath]);
    const raw = readFileSync(this.imagePath);
    let count = 0;
    for (let at = raw.indexOf(text); at !== -1; at = raw.indexOf(text, at + text.length)) count += 1;
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
    rmSync(this.#base, { recursive: true, force: true });
  }
}
