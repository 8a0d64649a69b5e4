import { opendir, rmdir, unlink } from 'node:fs/promises';
import { StorageError, messageOf } from '../model/errors.ts';
import { clearFlags } from './clear-flags.ts';
import { descriptorPath, entryPath, errorCode } from './descriptor.ts';
import { checkedComponent, type Directory } from './directory.ts';
import { inLanes } from './lanes.ts';
import type { Pace } from './pace.ts';
import {
  TreeWalk,
  checkListings,
  foreignMount,
  type TreeVisitor,
  type WalkedDirectory,
} from './tree-walk.ts';

export interface RemoveOptions {
  readonly signal: AbortSignal;
  readonly pace: Pace;
  /** names at the top that stay, and with them the top itself */
  readonly keep?: readonly string[];
  /** directories taken in from one listing; 10,000 unless told */
  readonly maximumListed?: number;
}

/** Of libuv's four threads two stay free for everybody else's file work. */
const lanes = 2;
const maximumListed = 10_000;

/**
 * Removes `parent`/`name` and everything below. What is not there is removed already. Safe to repeat after a crash
 * anywhere. Nothing outside is reached: directories are entered only through their parent's descriptor and never
 * through a link, also one that is swapped in meanwhile; any depth, width and bytes in names will do.
 *
 * @throws StorageError 'cannot-erase' at a mount inside (nothing of it is touched, what was removed before stays removed) or at
 *   flags that cannot be cleared; 'in-use' where somebody keeps adding entries; 'host-failure' else; the signal's reason
 */
export async function removeTree(
  parent: Directory,
  name: string,
  options: RemoveOptions,
): Promise<{ readonly files: number }> {
  const remover = new Remover(options);
  const walk = new TreeWalk(remover, { maximumListed, ...options });
  await walk.walk(parent, checkedComponent(name));
  return { files: remover.files };
}

/**
 * Removes everything in an open directory, which itself stays, as do the names at its top that are to be kept with what is in them.
 *
 * @throws StorageError as `removeTree`
 */
export async function emptyDirectory(
  directory: Directory,
  { keep = [], ...options }: RemoveOptions,
): Promise<{ readonly files: number }> {
  const remover = new Remover(options);
  for (let listings = 0; ; listings += 1) {
    // with something to keep the top stays, and nothing in it has this name
    const walk = new TreeWalk(remover, { maximumListed, ...options, keep: [...keep, self] });
    await walk.walk(directory, self);
    // one walk enters no more of its directories than it lists
    if (await holdsOnly(directory, keep)) return { files: remover.files };
    checkListings(listings, directory.realPath);
  }
}

const self = '.';

async function holdsOnly({ fd }: Directory, names: readonly string[]): Promise<boolean> {
  for await (const { name } of await opendir(descriptorPath(fd))) if (!names.includes(name)) return false;
  return true;
}

class Remover implements TreeVisitor {
  files = 0;
  readonly #options: RemoveOptions;

  constructor(options: RemoveOptions) {
    this.#options = options;
  }

  async entries(directory: WalkedDirectory, names: readonly Buffer[]): Promise<readonly Buffer[]> {
    const { pace, signal } = this.#options;
    await pace.files(names.length, signal);
    const directories: Buffer[] = [];
    const flagged: Buffer[] = [];
    const remove = async (name: Buffer, mayBeFlagged: boolean) => {
      const code = await attempt(() => unlink(entryPath(directory.fd, name)), directory, name);
      if (code === 'EISDIR') directories.push(name);
      else if (code === 'EPERM' && mayBeFlagged) flagged.push(name);
      else if (code === 'EPERM') throw stubborn(directory.pathOf(name));
      else this.files += 1;
    };
    await inLanes(names, lanes, (name) => remove(name, true));
    if (flagged.length > 0) {
      await clear(directory, flagged, signal);
      await inLanes(flagged, lanes, (name) => remove(name, false));
    }
    return directories;
  }

  async left(parent: WalkedDirectory, name: Buffer): Promise<'done' | 'again'> {
    const { pace, signal } = this.#options;
    await pace.files(1, signal);
    const remove = () => attempt(() => rmdir(entryPath(parent.fd, name)), parent, name);
    let code = await remove();
    if (code === 'EPERM') {
      await clear(parent, [name], signal);
      code = await remove();
      if (code === 'EPERM') throw stubborn(parent.pathOf(name));
    }
    if (code === 'done') this.files += 1;
    // something else took its place, which the next look deals with as what it is
    return code === 'done' ? 'done' : 'again';
  }
}

type Attempt = 'done' | 'EISDIR' | 'EPERM' | 'ENOTEMPTY' | 'ENOTDIR';

async function attempt(act: () => Promise<void>, directory: WalkedDirectory, name: Buffer): Promise<Attempt> {
  try {
    await act();
    return 'done';
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return 'done';
    if (code === 'EEXIST') return 'ENOTEMPTY';
    if (code === 'EISDIR' || code === 'EPERM' || code === 'ENOTEMPTY' || code === 'ENOTDIR') return code;
    const path = directory.pathOf(name);
    if (code === 'EBUSY') throw foreignMount(path);
    throw new StorageError('host-failure', `${path} cannot be removed: ${code ?? messageOf(error)}`, {
      cause: error,
    });
  }
}

async function clear(
  directory: WalkedDirectory,
  names: readonly Buffer[],
  signal: AbortSignal,
): Promise<void> {
  try {
    await clearFlags(directory.fd, names, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw stubborn(directory.pathOf(names[0] ?? Buffer.alloc(0)), error);
  }
}

function stubborn(path: string, cause?: unknown): StorageError {
  const detail = cause === undefined ? '' : ` (${messageOf(cause)})`;
  return new StorageError(
    'cannot-erase',
    `${path} cannot be removed: operation not permitted, also without its immutable and append-only flags${detail}; look at it with lsattr`,
    { cause },
  );
}
