import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Directory } from '../../src/host/directory.ts';
import { clearLeftovers, leftoversBelow } from './host-leftovers.ts';

/** `plain`: on the file system of the machine's temporary directory. */
export type PoolKind = 'plain' | 'ext4' | 'xfs' | 'btrfs';

/** Small, and enough for an xfs or a btrfs at all. */
const defaultMiB = { plain: 0, ext4: 128, xfs: 320, btrfs: 320 } as const;

const present = new Set<string>();
process.once('exit', () => {
  for (const basePath of present) clear(basePath);
});

/** What keeps tests with such a pool from running, for their names; '' where they can. */
export function whyNoScratchPool(kind: PoolKind = 'plain'): string {
  if (process.geteuid?.() !== 0) return ' (skipped: needs root)';
  if (kind === 'plain') return '';
  try {
    execFileSync('which', [`mkfs.${kind}`, 'losetup', 'filefrag'], { stdio: 'ignore' });
    return '';
  } catch {
    return ` (skipped: mkfs.${kind} is not installed)`;
  }
}

/**
 * A folder for a pool and one for all else that a test makes: on the machine's own file system, or on an image of its own
 * that is mounted, unmounted and looked at as raw bytes. Goes away with `await using`, or by `remove`.
 */
export class ScratchPool implements AsyncDisposable {
  readonly kind: PoolKind;
  /** stagings and targets lie below it, and the pool */
  readonly basePath: string;
  readonly path: string;
  #directory: Directory | undefined;

  private constructor(kind: PoolKind) {
    this.kind = kind;
    this.basePath = realpathSync(mkdtempSync(join(tmpdir(), `loam-${kind}-`)));
    this.path = join(this.basePath, 'pool');
  }

  static make(kind: PoolKind, sizeMiB: number = defaultMiB[kind]): ScratchPool {
    const pool = new ScratchPool(kind);
    present.add(pool.basePath);
    try {
      mkdirSync(pool.path, { mode: 0o700 });
      if (kind !== 'plain') {
        execFileSync('truncate', ['-s', `${sizeMiB}M`, pool.imagePath]);
        execFileSync(`mkfs.${kind}`, ['-q', pool.imagePath], { stdio: 'ignore' });
        pool.mount();
      }
    } catch (error) {
      clear(pool.basePath);
      throw error;
    }
    return pool;
  }

  get imagePath(): string {
    return join(this.basePath, 'image');
  }

  at(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  /** The pool's folder, held open until the next unmount. */
  async directory(): Promise<Directory> {
    this.#directory ??= await Directory.open(this.path);
    return this.#directory;
  }

  mount(): void {
    execFileSync('mount', ['-o', 'loop', this.imagePath, this.path]);
  }

  /** All is on the image afterwards. */
  async unmount(): Promise<void> {
    await this.#close();
    // in a mount namespace that somebody began meanwhile it stays mounted, and unmounting here would write nothing
    execFileSync('sync', ['-f', this.path]);
    execFileSync('umount', ['-R', this.path]);
  }

  /** Takes the disk away under whoever uses it. */
  unmountLazily(): void {
    execFileSync('umount', ['--lazy', this.path]);
  }

  /** How often some text lies on the image, after everything was written to it. */
  rawCount(text: string): number {
    execFileSync('sync', ['-f', this.imagePath]);
    const raw = readFileSync(this.imagePath);
    let count = 0;
    for (let at = raw.indexOf(text); at !== -1; at = raw.indexOf(text, at + text.length)) count += 1;
    return count;
  }

  /** What a test has left mounted or attached. */
  leftovers(): string[] {
    const mounts = leftoversBelow(this.basePath).filter(
      (text) => text.startsWith('mount ') && (this.kind === 'plain' || text !== `mount ${this.path}`),
    );
    return [...mounts, ...leftoversBelow(this.path).filter((text) => text.startsWith('loop device '))];
  }

  /** Removes the volumes of a finished test. */
  empty(): void {
    rmSync(this.at('volumes'), { recursive: true, force: true });
    rmSync(join(this.basePath, 'staging'), { recursive: true, force: true });
  }

  /** Undoes everything. */
  async remove(): Promise<void> {
    await this.#close();
    clear(this.basePath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async #close(): Promise<void> {
    await this.#directory?.close();
    this.#directory = undefined;
  }
}

function clear(basePath: string): void {
  // devices of images inside the pool before the pool's own
  clearLeftovers(`${join(basePath, 'pool')}/`);
  clearLeftovers(basePath);
  rmSync(basePath, { recursive: true, force: true });
  present.delete(basePath);
}
