import { constants, type BigIntStats } from 'node:fs';
import { link, lstat, open, rename, type FileHandle } from 'node:fs/promises';
import { descriptorPath, descriptorPathForCommands } from './descriptor.ts';
import { applyAttributes, readXattrs, type DirectoryAttributes } from './directory-attributes.ts';
import type { Directory } from './directory.ts';
import { inLanes } from './lanes.ts';
import { isErrno } from './mounts.ts';
import type { PinnedEntry } from './pinned-file.ts';
import { run } from './run.ts';
import type { TargetDirectory } from './target-tree.ts';

interface FileJob {
  /** unset: a further link of a file that was copied before */
  readonly entry: PinnedEntry | undefined;
  readonly linkKey: string | undefined;
  readonly directory: TargetDirectory;
  readonly name: Buffer;
}

interface Finished {
  readonly directory: TargetDirectory;
  readonly attributes: DirectoryAttributes;
}

/** Of libuv's four threads two stay free for everybody else's file work. */
const lanes = 2;
const maximumFiles = 128;
const maximumDirectories = 64;
/** So that progress is told and a stop is heard between files. */
const maximumBytes = 256n << 20n;
const progressIntervalMs = 500;
/** The longest that a timer can be told: a file may be as large as its disk. */
const unlimitedMs = 2 ** 31 - 1;

/**
 * Copies entries some at a time, of many directories together, since a process costs as much as copying a hundred small files.
 *
 * Files and FIFOs are pinned by the caller and handed to cp by descriptor: what has their names by now does not matter. cp leaves them in
 * `workbench` under the descriptor's number, and they are renamed to where they belong. The first copy of a file with several
 * links stays in the workbench too, and every name of it becomes a link to that.
 */
export class CopyBatch {
  copiedBytes = 0n;
  readonly #workbench: Directory;
  readonly #signal: AbortSignal;
  readonly #onProgress: (copiedBytes: bigint) => void;
  readonly #linked = new Set<string>();
  #jobs: FileJob[] = [];
  #entered: { readonly pin: FileHandle; readonly attributes: DirectoryAttributes }[] = [];
  #finished: Finished[] = [];
  #pendingBytes = 0n;

  constructor(workbench: Directory, signal: AbortSignal, onProgress: (copiedBytes: bigint) => void) {
    this.#workbench = workbench;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  /** Takes over the pinned entry: it is closed here. */
  async addFile(entry: PinnedEntry, directory: TargetDirectory, name: Buffer): Promise<void> {
    const linkKey = entry.stat.nlink > 1n ? keyOf(entry.stat) : undefined;
    const isKnown = linkKey !== undefined && this.#linked.has(linkKey);
    if (isKnown) await entry.handle.close();
    else this.#pendingBytes += bytesOf(entry.stat);
    if (linkKey !== undefined) this.#linked.add(linkKey);
    this.#jobs.push({ entry: isKnown ? undefined : entry, linkKey, directory: directory.hold(), name });
    await this.#flushIfMany();
  }

  /** Remembers a source's directory, whose extended attributes are read with those of others. */
  async enter(fd: number): Promise<DirectoryAttributes> {
    const pin = await open(descriptorPath(fd), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const attributes: DirectoryAttributes = { stat: await pin.stat({ bigint: true }), xattrs: [] };
      this.#entered.push({ pin, attributes });
      return attributes;
    } catch (error) {
      await pin.close();
      throw error;
    }
  }

  /** Everything of this directory was added; the caller's hold of it passes over. */
  async finish(directory: TargetDirectory, attributes: DirectoryAttributes): Promise<void> {
    this.#finished.push({ directory, attributes });
    await this.#flushIfMany();
  }

  async flush(): Promise<void> {
    await this.#readXattrs();
    await this.#copyFiles();
    await this.#finishDirectories();
    this.copiedBytes += this.#pendingBytes;
    this.#pendingBytes = 0n;
    this.#onProgress(this.copiedBytes);
  }

  /** Lets go of everything that was not flushed. */
  async close(): Promise<void> {
    for (const { pin } of this.#entered.splice(0)) await pin.close();
    for (const job of this.#jobs.splice(0)) await closeJob(job);
    for (const { directory } of this.#finished.splice(0)) await directory.release();
  }

  async #flushIfMany(): Promise<void> {
    const directories = Math.max(this.#entered.length, this.#finished.length);
    const isLittle = this.#jobs.length < maximumFiles && directories < maximumDirectories;
    if (!isLittle || this.#pendingBytes >= maximumBytes) await this.flush();
  }

  async #readXattrs(): Promise<void> {
    const found = await readXattrs(
      this.#entered.map(({ pin }) => pin.fd),
      this.#signal,
    );
    for (const [index, { attributes }] of this.#entered.entries()) attributes.xattrs = found[index] ?? [];
    for (const { pin } of this.#entered.splice(0)) await pin.close();
  }

  async #copyFiles(): Promise<void> {
    const fds = this.#jobs.flatMap(({ entry }) => (entry === undefined ? [] : [entry.handle.fd]));
    if (fds.length > 0) await this.#runCopy(fds);
    // names of one file go one after another, the first of them first
    const isAlone = ({ linkKey }: FileJob): boolean => linkKey === undefined;
    await inLanes(this.#jobs.filter(isAlone), lanes, (job) => this.#place(job));
    for (const job of this.#jobs) if (!isAlone(job)) await this.#place(job);
    await inLanes(this.#jobs.splice(0), lanes, closeJob);
  }

  async #runCopy(fds: readonly number[]): Promise<void> {
    // -R: FIFOs are made and not read; -L: the descriptors are links, each to the very file or FIFO that was pinned
    const args = [
      '-R',
      '-L',
      '--reflink=auto',
      '--sparse=auto',
      '--preserve=mode,ownership,timestamps,xattr',
    ];
    const target = ['--target-directory', descriptorPathForCommands(this.#workbench.fd)];
    const timer = setInterval(() => void this.#tellPartly(fds), progressIntervalMs);
    try {
      await run('cp', [...args, ...target, '--', ...fds.map(descriptorPathForCommands)], {
        signal: this.#signal,
        timeoutMs: unlimitedMs,
      });
    } finally {
      clearInterval(timer);
    }
  }

  async #tellPartly(fds: readonly number[]): Promise<void> {
    const sizes = fds.map(async (fd) => {
      const found = await lstat(this.#workbench.entry(String(fd)), { bigint: true }).catch(() => undefined);
      return found === undefined ? 0n : bytesOf(found);
    });
    const copied = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0n);
    this.#onProgress(this.copiedBytes + copied);
  }

  async #place({ entry, linkKey, directory, name }: FileJob): Promise<void> {
    const copied = entry === undefined ? undefined : this.#workbench.entry(String(entry.handle.fd));
    if (linkKey === undefined) {
      if (copied !== undefined) await rename(copied, directory.entry(name));
      return;
    }
    const kept = this.#workbench.entry(linkKey);
    if (copied !== undefined) await rename(copied, kept);
    try {
      await link(kept, directory.entry(name));
    } catch (error) {
      // the one link more than the original has was one too many for the file system: this is its last name
      if (!isErrno(error, 'EMLINK')) throw error;
      await rename(kept, directory.entry(name));
    }
  }

  async #finishDirectories(): Promise<void> {
    await applyAttributes(
      this.#finished.map(({ directory, attributes }) => ({ fd: directory.fd, attributes })),
      this.#signal,
    );
    for (const { directory } of this.#finished.splice(0)) await directory.release();
  }
}

async function closeJob({ entry, directory }: FileJob): Promise<void> {
  await entry?.handle.close();
  await directory.release();
}

/** An inode's number is used again after a deletion; its birth tells the two apart. */
function keyOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `link-${dev}-${ino}-${birthtimeNs}`;
}

function bytesOf({ blocks }: BigIntStats): bigint {
  return blocks * 512n;
}
