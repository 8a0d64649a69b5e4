import { lchown, lutimes, mkdir, readlink, symlink } from 'node:fs/promises';
import { StorageError, isReason, messageOf } from '../model/errors.ts';
import { CopyBatch } from './copy-batch.ts';
import { entryPath, errorCode } from './descriptor.ts';
import { isOwnerRefused, secondsOf, type DirectoryAttributes } from './directory-attributes.ts';
import { checkedComponent, type Directory } from './directory.ts';
import { inLanes } from './lanes.ts';
import { pinEntry, type PinnedEntry } from './pinned-file.ts';
import { CommandError, throwIfAborted } from './run.ts';
import { TargetTree } from './target-tree.ts';
import { TreeWalk, type TreeVisitor, type WalkedDirectory } from './tree-walk.ts';

export interface CopyTreeOptions {
  readonly signal: AbortSignal;
  /** bytes of the disk that the copied files have there, every now and then */
  readonly onProgress?: (copiedBytes: bigint) => void;
}

export interface CopyTreeReport {
  /** entries of the copy without directories */
  readonly files: number;
  /** as `onProgress`: shared blocks counted too */
  readonly copiedBytes: bigint;
  /** sockets, devices, and what other file systems are mounted over */
  readonly leftOut: number;
}

const workbenchName = 'workbench';
/** Of libuv's four threads two stay free for everybody else's file work. */
const lanes = 2;

/**
 * Copies the directory `source`/`name` as `target`/`name`, with blocks shared where the file system can. `target` is ours alone, on the
 * same file system, and empty; after a failure or a crash it is removed as a whole.
 *
 * Kept are names of any bytes, content with its holes, owners, permission bits, times (of directories and links to the microsecond),
 * hard links among the files of the tree, symbolic links as they are, FIFOs, extended attributes and ACLs of files and directories.
 * Left out are sockets and device nodes (one on a volume is of no use, which is mounted nodev), inode flags, SELinux labels,
 * and what is below a mount: of a mounted directory an empty one is made.
 *
 * Somebody may write meanwhile. Then the copy mixes moments, and what vanishes or is replaced under our hands may be missing; but every
 * entry is reached through its directory's descriptor and pinned before it is looked at, so that no link that is swapped
 * in leads outside: nothing else is ever read, and nothing but `target` written.
 *
 * @throws StorageError 'data-loss' where there is no such directory; 'out-of-space'; 'busy' where a deep directory was moved away while
 *   it was copied; 'host-failure'; the signal's reason
 */
export async function copyTree(
  source: Directory,
  name: string,
  target: Directory,
  options: CopyTreeOptions,
): Promise<CopyTreeReport> {
  const { signal, onProgress = () => {} } = options;
  const rootName = checkedComponent(name);
  const workbench = await target.ensureChild(workbenchName, 0o700);
  const batch = new CopyBatch(workbench, signal, onProgress);
  const copier = new TreeCopier(batch, new TargetTree(target.fd));
  try {
    await new TreeWalk(copier, { signal, readsOnly: true }).walk(source, rootName);
    if (!copier.hasRoot) throw noDirectory(source.pathOf(rootName));
    await batch.flush();
    return { ...copier.report, copiedBytes: batch.copiedBytes };
  } catch (error) {
    throwIfAborted(signal, `copying ${source.pathOf(rootName)}`);
    throw copyFailure(error, source.pathOf(rootName));
  } finally {
    await copier.close();
    await workbench.close();
  }
}

class TreeCopier implements TreeVisitor {
  readonly report = { files: 0, leftOut: 0 };
  hasRoot = false;
  readonly #batch: CopyBatch;
  readonly #target: TargetTree;
  readonly #attributes: DirectoryAttributes[] = [];

  constructor(batch: CopyBatch, target: TargetTree) {
    this.#batch = batch;
    this.#target = target;
  }

  async entered(_parent: WalkedDirectory, name: Buffer, directory: WalkedDirectory): Promise<void> {
    await this.#target.enter(name);
    this.hasRoot = true;
    this.#attributes.push(await this.#batch.enter(directory.fd));
  }

  async mounted(_parent: WalkedDirectory, name: Buffer): Promise<void> {
    this.report.leftOut += 1;
    if (!this.#target.isAtTop) await mkdir(this.#target.current.entry(name), { mode: 0o755 });
  }

  async left(): Promise<'done'> {
    const attributes = this.#attributes.pop();
    if (attributes === undefined) throw new Error('a directory was left that was never entered');
    await this.#batch.finish(await this.#target.leave(), attributes);
    return 'done';
  }

  async entries(directory: WalkedDirectory, names: readonly Buffer[]): Promise<readonly Buffer[]> {
    // the root itself is none
    if (this.#target.isAtTop) return [];
    const directories: Buffer[] = [];
    const pinned: { readonly name: Buffer; readonly entry: PinnedEntry }[] = [];
    try {
      await inLanes(names, lanes, async (name) => {
        const entry = await pinEntry(directory.fd, name);
        if (entry !== undefined) pinned.push({ name, entry });
      });
      for (let next = pinned.shift(); next !== undefined; next = pinned.shift()) {
        const isDirectory = await this.#copy(directory, next.name, next.entry);
        if (isDirectory) directories.push(next.name);
      }
    } finally {
      for (const { entry } of pinned) await entry.handle.close();
    }
    return directories;
  }

  async close(): Promise<void> {
    await this.#batch.close();
    await this.#target.close();
  }

  /** Takes over the entry. @returns whether it turned out to be a directory */
  async #copy(directory: WalkedDirectory, name: Buffer, entry: PinnedEntry): Promise<boolean> {
    const { stat } = entry;
    const isOurs = entry.mountId === directory.mountId;
    if (isOurs && (stat.isFile() || stat.isFIFO())) {
      this.report.files += 1;
      await this.#batch.addFile(entry, this.#target.current, name);
      return false;
    }
    try {
      if (stat.isDirectory()) return true;
      if (isOurs && stat.isSymbolicLink()) await this.#copyLink(directory, name, entry);
      else this.report.leftOut += 1;
      return false;
    } finally {
      await entry.handle.close();
    }
  }

  async #copyLink(directory: WalkedDirectory, name: Buffer, { stat }: PinnedEntry): Promise<void> {
    let text: Buffer;
    try {
      text = await readlink(entryPath(directory.fd, name), 'buffer');
    } catch (error) {
      // no link any more
      if (['ENOENT', 'EINVAL'].includes(errorCode(error) ?? '')) return;
      throw error;
    }
    const path = this.#target.current.entry(name);
    await symlink(text, path);
    try {
      await lchown(path, Number(stat.uid), Number(stat.gid));
    } catch (error) {
      if (!isOwnerRefused(error)) throw error;
    }
    await lutimes(path, secondsOf(stat.atimeNs), secondsOf(stat.mtimeNs));
    this.report.files += 1;
  }
}

function copyFailure(error: unknown, path: string): StorageError {
  const code = errorCode(error);
  const isFull =
    code === 'ENOSPC' ||
    code === 'EDQUOT' ||
    (error instanceof CommandError && /no space left|quota exceeded/i.test(error.stderr));
  if (isFull) {
    return new StorageError(
      'out-of-space',
      `the pool became full while ${path} was copied; free space or add a pool`,
      { cause: error },
    );
  }
  if (error instanceof StorageError && !isReason(error, 'host-failure')) return error;
  return new StorageError('host-failure', `${path} cannot be copied: ${messageOf(error)}`, { cause: error });
}

function noDirectory(path: string): StorageError {
  return new StorageError('data-loss', `the directory ${path} is gone; there is nothing to copy`);
}
