import { opendir, readdir, type FileHandle } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import { descriptorPath, mountIdOf, printable } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { openDirectoryAt, openParentOf, type DirectoryIdentity } from './open-directory.ts';

/** A directory in the middle of a walk. */
export interface WalkedDirectory {
  readonly fd: number;
  /** the mount that the whole walk stays on */
  readonly mountId: number;
  /** where an entry is, for messages: from the walk's root downwards */
  pathOf(name: Buffer): string;
}

export interface TreeVisitor {
  /**
   * Deals with some entries of one directory that are not directories; may be called several times for one.
   * Answers those that turned out to be directories after all: they are entered.
   */
  entries(directory: WalkedDirectory, names: readonly Buffer[]): Promise<readonly Buffer[]>;
  /** A directory was opened; nothing in it was looked at yet. */
  entered?(parent: WalkedDirectory, name: Buffer, directory: WalkedDirectory): Promise<void>;
  /** Passes over a directory where another mount begins. Without it the walk ends there with an error. */
  mounted?(parent: WalkedDirectory, name: Buffer): Promise<void>;
  /** Everything below `name` was visited. `again`: things were left in it, list it once more. */
  left?(parent: WalkedDirectory, name: Buffer): Promise<'done' | 'again'>;
}

export interface WalkOptions {
  readonly signal: AbortSignal;
  /** entries of the root itself that are passed over */
  readonly keep?: readonly string[];
  /** directories taken in from one listing; a visitor that answers `again` sees the others then. Unset: all */
  readonly maximumListed?: number;
  /** what is walked is only read: no directory gets permission bits that it lacks */
  readonly readsOnly?: boolean;
}

/** Directories kept open at once, however deep the tree; those further up are found again through `..` and checked. */
const maximumHeld = 32;
const entriesAtOnce = 64;
/** Directories up to this size (some hundreds of names) are listed in one step, which costs a quarter of a stream. */
const smallBytes = 16_384n;
/** A directory that does not get empty in so many listings is being filled by somebody. */
const maximumListings = 100;

interface Frame {
  readonly name: Buffer;
  readonly identity: DirectoryIdentity;
  /** names of directories still to enter, one byte a character: a fraction of a Buffer's size, and lossless */
  readonly pending: string[];
  readonly listings: Map<string, number>;
  readonly isSmall: boolean;
  handle: FileHandle | undefined;
}

/**
 * Walks `parent`/`name` depth first, level by level through held descriptors: no path is ever resolved twice, no link is
 * ever followed, and depth costs neither descriptors nor stack. Where `name` is not a directory, the visitor gets it as an entry.
 *
 * @throws StorageError 'cannot-erase' naming the place where another mount begins; nothing behind it was looked at
 */
export class TreeWalk {
  readonly #visitor: TreeVisitor;
  readonly #options: WalkOptions;
  readonly #stack: Frame[] = [];
  #mountId = -1;

  constructor(visitor: TreeVisitor, options: WalkOptions) {
    this.#visitor = visitor;
    this.#options = options;
  }

  async walk(parent: Directory, rootName: string): Promise<void> {
    this.#mountId = mountIdOf(parent.fd);
    const name = Buffer.from(rootName);
    const above: WalkedDirectory = { fd: parent.fd, mountId: this.#mountId, pathOf: printable };
    try {
      for (let listings = 0; ; listings += 1) {
        this.#stack.length = 0;
        if (!(await this.#enter(above, name))) return;
        await this.#drain();
        const isKept = (this.#options.keep ?? []).length > 0;
        if (isKept || this.#visitor.left === undefined) return;
        if ((await this.#visitor.left(above, name)) === 'done') return;
        checkListings(listings, rootName);
      }
    } finally {
      for (const frame of this.#stack) await frame.handle?.close();
    }
  }

  async #drain(): Promise<void> {
    for (let frame = this.#stack.at(-1); frame !== undefined; frame = this.#stack.at(-1)) {
      this.#options.signal.throwIfAborted();
      const next = frame.pending.pop();
      if (next !== undefined) await this.#enter(this.#walked(frame), Buffer.from(next, 'latin1'));
      else await this.#leave(frame);
    }
  }

  /** Opens and lists a directory; what is none (any more) goes to the visitor. False where nothing is left to walk. */
  async #enter(parent: WalkedDirectory, name: Buffer): Promise<boolean> {
    for (let tries = 0; tries < maximumListings; tries += 1) {
      const opened = await openDirectoryAt(parent.fd, name, this.#options.readsOnly ?? false);
      if (opened === 'absent') return false;
      if (opened !== 'not-a-directory') {
        const isForeign = opened.mountId !== this.#mountId;
        if (isForeign && this.#visitor.mounted !== undefined) {
          await opened.handle.close();
          await this.#visitor.mounted(parent, name);
          return false;
        }
        const frame = {
          name,
          identity: opened.identity,
          pending: [],
          listings: new Map(),
          isSmall: opened.sizeBytes <= smallBytes,
          handle: opened.handle,
        };
        this.#stack.push(frame);
        if (isForeign) throw foreignMount(parent.pathOf(name));
        await this.#visitor.entered?.(parent, name, this.#walked(frame));
        await this.#list(frame);
        await this.#closeFarthest();
        return true;
      }
      if ((await this.#visitor.entries(parent, [name])).length === 0) return false;
    }
    throw restless(parent.pathOf(name));
  }

  async #list(frame: Frame): Promise<void> {
    const { signal, keep = [], maximumListed = Number.POSITIVE_INFINITY } = this.#options;
    const directory = this.#walked(frame);
    const isRoot = this.#stack.length === 1;
    let batch: Buffer[] = [];
    const flush = async () => {
      const names = batch;
      batch = [];
      for (const found of await this.#visitor.entries(directory, names))
        frame.pending.push(found.toString('latin1'));
    };
    // @types/node knows no Buffer names for these
    const encoding = 'buffer' as BufferEncoding;
    const path = descriptorPath(directory.fd);
    const listing = frame.isSmall
      ? await readdir(path, { encoding, withFileTypes: true })
      : await opendir(path, { encoding, bufferSize: 128 });
    for await (const entry of listing) {
      const name = entry.name as unknown as Buffer;
      if (isRoot && keep.some((kept) => name.equals(Buffer.from(kept)))) continue;
      if (!entry.isDirectory()) batch.push(name);
      else if (frame.pending.length < maximumListed) frame.pending.push(name.toString('latin1'));
      if (batch.length < entriesAtOnce) continue;
      signal.throwIfAborted();
      await flush();
    }
    if (batch.length > 0) await flush();
  }

  async #leave(frame: Frame): Promise<void> {
    const parent = this.#stack.at(-2);
    if (parent !== undefined && parent.handle === undefined && frame.handle !== undefined) {
      parent.handle = await openParentOf(frame.handle.fd, parent.identity);
    }
    this.#stack.pop();
    await frame.handle?.close();
    if (parent === undefined || this.#visitor.left === undefined) return;
    const directory = this.#walked(parent);
    if ((await this.#visitor.left(directory, frame.name)) === 'done') return;
    const key = frame.name.toString('latin1');
    const listings = (parent.listings.get(key) ?? 0) + 1;
    checkListings(listings, directory.pathOf(frame.name));
    parent.listings.set(key, listings);
    parent.pending.push(key);
  }

  async #closeFarthest(): Promise<void> {
    const far = this.#stack.at(-1 - maximumHeld);
    const handle = far?.handle;
    if (far === undefined || handle === undefined) return;
    far.handle = undefined;
    await handle.close();
  }

  #walked(frame: Frame): WalkedDirectory {
    const { handle } = frame;
    if (handle === undefined) throw new Error(`directory ${printable(frame.name)} is not open`);
    return { fd: handle.fd, mountId: this.#mountId, pathOf: (name) => this.#pathOf(frame, name) };
  }

  #pathOf(frame: Frame, name: Buffer): string {
    const above = this.#stack.slice(0, this.#stack.indexOf(frame) + 1);
    const parts = [...above.map((each) => each.name), name].map(printable);
    // a tree may be thousands of levels deep: its two ends tell enough
    return (parts.length > 12 ? [...parts.slice(0, 4), '…', ...parts.slice(-4)] : parts).join('/');
  }
}

export function checkListings(listings: number, path: string): void {
  if (listings >= maximumListings) throw restless(path);
}

function restless(path: string): StorageError {
  return new StorageError(
    'in-use',
    `${path} does not stay as it is found after ${maximumListings} tries; somebody still writes there, find and stop them`,
  );
}

export function foreignMount(path: string): StorageError {
  return new StorageError(
    'cannot-erase',
    `another file system is mounted at ${path}; nothing of it was touched, unmount it and the deletion goes on`,
  );
}
