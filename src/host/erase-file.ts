import type { FileHandle } from 'node:fs/promises';
import type { ScrubMethod } from '../model/class-parameters.ts';
import { messageOf } from '../model/errors.ts';
import { descriptorPathForCommands, errorCode } from './descriptor.ts';
import { clipToSize, findExtents, type Extent } from './extents.ts';
import type { Unerased } from './hard-links.ts';
import { inLanes } from './lanes.ts';
import { compareWithZero, erasePattern, overwrite, type ErasableFile } from './overwrite.ts';
import type { Pace } from './pace.ts';
import { openPinned, type PinnedEntry } from './pinned-file.ts';
import { run } from './run.ts';

interface Opened {
  readonly handle: FileHandle;
  readonly entry: PinnedEntry;
  readonly path: string;
}

/**
 * Erases regular files, some at a time: one question for the extents of all of them, since a question is a process.
 * Files that must be left alone are kept in `unerased`; the others are erased all the same.
 */
export class FileEraser {
  readonly unerased: Unerased[] = [];
  readonly #method: ScrubMethod;
  readonly #pattern: Buffer;
  readonly #options: { readonly pace: Pace; readonly signal: AbortSignal };
  #files = 0;
  #erasedBytes = 0n;
  #hasExtents = true;

  readonly #leaveShared: boolean;
  #leftBytes = 0n;

  constructor(options: {
    readonly method: ScrubMethod;
    readonly pace: Pace;
    readonly signal: AbortSignal;
    readonly leaveShared?: boolean;
  }) {
    this.#leaveShared = options.leaveShared === true;
    this.#method = options.method;
    this.#pattern = options.method === 'discard' ? Buffer.alloc(0) : erasePattern(options.method);
    this.#options = options;
  }

  report(): { readonly files: number; readonly erasedBytes: bigint; readonly leftBytes: bigint } {
    return { files: this.#files, erasedBytes: this.#erasedBytes, leftBytes: this.#leftBytes };
  }

  /** @throws StorageError 'host-failure' | 'cannot-erase' from the disk; the signal's reason */
  async erase(chosen: readonly { readonly entry: PinnedEntry; readonly path: string }[]): Promise<void> {
    const opened: Opened[] = [];
    try {
      for (const { entry, path } of chosen) {
        const hasBytes = entry.stat.blocks > 0n || entry.stat.size > 0n;
        if (!hasBytes) this.#files += 1;
        else await this.#open(entry, path, opened);
      }
      const files = await this.#erasable(opened);
      await (this.#method === 'discard' ? this.#discard(files) : this.#overwrite(files));
      this.#files += files.length;
    } finally {
      await Promise.all(opened.map((file) => file.handle.close()));
    }
  }

  async #open(entry: PinnedEntry, path: string, opened: Opened[]): Promise<void> {
    const { signal } = this.#options;
    try {
      opened.push({ handle: await openPinned(entry, signal), entry, path });
    } catch (error) {
      signal.throwIfAborted();
      this.unerased.push({
        path,
        why: `cannot be opened for writing (${errorCode(error) ?? messageOf(error)})`,
      });
    }
  }

  async #overwrite(files: readonly ErasableFile[]): Promise<void> {
    this.#erasedBytes += await overwrite(files, this.#pattern, this.#options);
  }

  async #discard(files: readonly ErasableFile[]): Promise<void> {
    const { pace, signal } = this.#options;
    await inLanes(files, 2, async (file) => {
      const { size } = await file.handle.stat({ bigint: true });
      if (size === 0n) return;
      const bytes = file.extents.reduce((sum, extent) => sum + extent.lengthBytes, 0n);
      await pace.bytes(Number(bytes), signal);
      // to a multiple of any block size, or the last block would only be zeroed
      const length = (size + 65_535n) & ~65_535n;
      const where = ['--offset', '0', '--length', `${length}`];
      const path = descriptorPathForCommands(file.handle.fd);
      await run('fallocate', ['--punch-hole', ...where, path], { signal, timeoutMs: 600_000 });
      await file.handle.datasync();
      this.#erasedBytes += bytes;
    });
    await compareWithZero(files, signal);
  }

  /** Those that can be erased, with their extents. */
  async #erasable(opened: readonly Opened[]): Promise<ErasableFile[]> {
    const found = await this.#extentsOf(opened);
    const files: ErasableFile[] = [];
    for (const [index, { handle, entry, path }] of opened.entries()) {
      const { size, blocks } = entry.stat;
      const isFull = blocks * 512n >= size;
      const whole = isFull ? [{ startBytes: 0n, lengthBytes: size, isShared: false }] : undefined;
      const extents = found === undefined ? whole : clipToSize(found[index] ?? [], size);
      if (extents === undefined) {
        const why = 'is sparse and its file system does not tell where it has blocks (use scrub: discard)';
        if (this.#method === 'discard') files.push({ handle, path, extents: [] });
        else this.unerased.push({ path, why });
      } else if (this.#method !== 'discard' && extents.some((extent) => extent.isShared)) {
        if (this.#leaveShared) {
          files.push({ handle, path, extents: this.#withoutShared(extents) });
          continue;
        }
        this.unerased.push({
          path,
          why: 'shares blocks with another file, so overwriting would write elsewhere',
        });
      } else files.push({ handle, path, extents });
    }
    return files;
  }

  /** What is this file's alone; the rest is still somebody else's. */
  #withoutShared(extents: readonly Extent[]): Extent[] {
    return extents.filter(({ isShared, lengthBytes }) => {
      if (isShared) this.#leftBytes += lengthBytes;
      return !isShared;
    });
  }

  async #extentsOf(opened: readonly Opened[]): Promise<Extent[][] | undefined> {
    if (opened.length === 0 || !this.#hasExtents) return undefined;
    const fds = opened.map((file) => file.handle.fd);
    const found = await findExtents(fds, this.#options.signal);
    // asked once: it is a trait of the file system, not of a file
    if (found === undefined) this.#hasExtents = false;
    return found;
  }
}
