import type { ScrubMethod } from '../model/class-parameters.ts';
import { StorageError } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { descriptorPath } from './descriptor.ts';
import { checkedComponent, type Directory } from './directory.ts';
import { FileEraser } from './erase-file.ts';
import { HardLinks } from './hard-links.ts';
import type { Pace } from './pace.ts';
import { pinEntry, type PinnedEntry } from './pinned-file.ts';
import { statFileSystem } from './statfs.ts';
import { TreeWalk, foreignMount, type TreeVisitor, type WalkedDirectory } from './tree-walk.ts';

export interface EraseOptions {
  readonly method: ScrubMethod;
  readonly signal: AbortSignal;
  readonly pace: Pace;
  readonly log: Log;
  /** names at the top that are passed over */
  readonly keep?: readonly string[];
  /**
   * Whether blocks that another file has too are left to it: a snapshot or clone of the same data, which is erased when its own time
   * comes. Unset: such a file is an error.
   */
  readonly leaveShared?: boolean;
}

export interface EraseReport {
  /** regular files erased; those without blocks count */
  readonly files: number;
  readonly erasedBytes: bigint;
  /** left to others that share them */
  readonly leftBytes: bigint;
  /** links, FIFOs, sockets and devices: never opened, they hold no bytes of the volume */
  readonly passedOver: number;
}

/**
 * Erases the content of every regular file in `parent`/`name` (or of that file itself) in place, and verifies it; removes
 * nothing. `zero` and `random` overwrite the blocks that files have, `discard` gives them back to the file system.
 *
 * Only allocated extents are touched, so a thin image stays thin. Not erased is what is no longer, or not only, the volume's:
 * blocks that it gave back before (deleted files, ranges discarded inside an image, on xfs also zeroed ones), names, link
 * targets and extended attributes. On ext4 with data=journal the journal keeps copies for a while. After a crash it is begun anew.
 *
 * @throws StorageError 'cannot-erase', after everything else was erased: files with hard links from outside the tree
 *   (overwriting would reach outside) or with blocks that another file shares and that are not to be left to it; and before anything is erased: a copy-on-write
 *   file system under `zero` or `random`. Also at a mount inside. 'host-failure' where the disk fails or the bytes read back differ
 */
export async function eraseTree(
  parent: Directory,
  name: string,
  options: EraseOptions,
): Promise<EraseReport> {
  return erase(parent, checkedComponent(name), options);
}

/** The same of everything in an open directory. @throws StorageError as `eraseTree` */
export async function eraseDirectory(directory: Directory, options: EraseOptions): Promise<EraseReport> {
  return erase(directory, '.', options);
}

async function erase(parent: Directory, name: string, options: EraseOptions): Promise<EraseReport> {
  if (options.method !== 'discard' && (await statFileSystem(descriptorPath(parent.fd))).isCopyOnWrite) {
    throw new StorageError(
      'cannot-erase',
      `${name} cannot be overwritten: its file system is copy-on-write, new bytes go elsewhere and the old ones stay; use onDelete: delete, or scrub: discard`,
    );
  }
  const eraser = new TreeEraser(options);
  await new TreeWalk(eraser, options).walk(parent, name);
  if (eraser.links.beginSecondPass()) await new TreeWalk(eraser, options).walk(parent, name);
  const report = { ...eraser.files.report(), passedOver: eraser.passedOver };
  eraser.throwUnerased(name);
  options.log.info({ ...report, method: options.method }, 'data erased and verified');
  return report;
}

class TreeEraser implements TreeVisitor {
  readonly links = new HardLinks();
  readonly files: FileEraser;
  passedOver = 0;
  readonly #options: EraseOptions;

  constructor(options: EraseOptions) {
    this.#options = options;
    this.files = new FileEraser(options);
  }

  async entries(directory: WalkedDirectory, names: readonly Buffer[]): Promise<readonly Buffer[]> {
    const { pace, signal } = this.#options;
    await pace.files(names.length, signal);
    const directories: Buffer[] = [];
    const chosen: { entry: PinnedEntry; path: string }[] = [];
    const pinned: PinnedEntry[] = [];
    try {
      for (const name of names) {
        const entry = await pinEntry(directory.fd, name);
        if (entry === undefined) continue;
        pinned.push(entry);
        const path = directory.pathOf(name);
        if (entry.stat.isDirectory()) directories.push(name);
        else if (entry.mountId !== directory.mountId) throw foreignMount(path);
        else if (!entry.stat.isFile()) this.#passOver();
        else if (this.links.isToErase(entry.stat, path)) chosen.push({ entry, path });
      }
      await this.files.erase(chosen);
    } finally {
      await Promise.all(pinned.map((entry) => entry.handle.close()));
    }
    return directories;
  }

  #passOver(): void {
    if (!this.links.isSecondPass) this.passedOver += 1;
  }

  throwUnerased(name: string): void {
    const unerased = [...this.files.unerased, ...this.links.outside()];
    const first = unerased[0];
    if (first === undefined) return;
    const others = unerased.length === 1 ? '' : `, and ${unerased.length - 1} more`;
    throw new StorageError(
      'cannot-erase',
      `${unerased.length} ${unerased.length === 1 ? 'file' : 'files'} of ${name} cannot be erased: ${first.path} ${first.why}${others}; remove what shares them, or use onDelete: delete`,
      { facts: { unerased: unerased.length, sample: first.path } },
    );
  }
}
