import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, symlink, type FileHandle } from 'node:fs/promises';
import { errorCode } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { removeFile } from './entries.ts';
import { entryFacts } from './entry-facts.ts';
import { StorageError } from '../model/errors.ts';
import { syncFileSystem } from './file-system-sync.ts';

/** Some of a disk that is held for a day when nothing else is left of it. */
export interface HeldSpace {
  heldBytes(): Promise<bigint>;
  /** Has it hold so much, where it holds less. Durable when it resolves; a failure leaves what it has got so far. */
  growTo(bytes: bigint, signal: AbortSignal): Promise<void>;
  /** Has it hold no more than so much. When it resolves others can have the rest. */
  shrinkTo(bytes: bigint, signal: AbortSignal): Promise<void>;
}

const ownMode = 0o600;
const flags = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const chunkBytes = 1 << 20;

/** A file with bytes that no file system can store in less. */
export class ReserveFile implements HeldSpace {
  readonly #folder: Directory;
  readonly #name: string;

  constructor(folder: Directory, name: string) {
    this.#folder = folder;
    this.#name = name;
  }

  async heldBytes(): Promise<bigint> {
    try {
      const file = await this.#open();
      try {
        return (await file.stat({ bigint: true })).size;
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return 0n;
      throw error;
    }
  }

  async growTo(bytes: bigint, signal: AbortSignal): Promise<void> {
    const file = await this.#open(constants.O_CREAT);
    try {
      const chunk = randomBytes(chunkBytes);
      try {
        for (let at = (await file.stat()).size; at < Number(bytes); at += chunkBytes) {
          signal.throwIfAborted();
          await file.write(chunk, 0, Math.min(chunkBytes, Number(bytes) - at), at);
        }
      } finally {
        // xfs puts blocks aside behind the end of a file that grows again, as many as it has: 16 MiB that nobody could be given
        await file.truncate((await file.stat()).size);
      }
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async shrinkTo(bytes: bigint): Promise<void> {
    const file = await this.#open();
    try {
      await file.truncate(Number(bytes));
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** Only what can be ours: a person's file of that name is neither counted nor cut. */
  async #open(more = 0): Promise<FileHandle> {
    const file = await open(this.#folder.entry(this.#name), flags | more, ownMode);
    try {
      const found = await file.stat();
      if (found.isFile() && found.nlink === 1 && (found.mode & 0o777) === ownMode) return file;
      const path = this.#folder.pathOf(this.#name);
      throw new StorageError('invalid-argument', `${path} is not Loam's own file; move it away`);
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

const linkBytes = 4096n;
const linkTarget = 'x'.repeat(4000);
const blocksName = 'blocks';
/** For one rename btrfs wants some MiB of metadata to be free, for a record's write a few blocks of data. */
const blocksShare = 8n;

/**
 * A folder for btrfs, where one kind of block cannot become the other: a file of the one, and long links, whose text lies among
 * the other. A record's write asks for some of each, a delete for metadata only.
 */
export class ReserveFolder implements HeldSpace {
  readonly #parent: Directory;
  readonly #name: string;

  constructor(parent: Directory, name: string) {
    this.#parent = parent;
    this.#name = name;
  }

  async heldBytes(): Promise<bigint> {
    if (!(await this.#parent.exists(this.#name))) return 0n;
    return this.#within(async (folder, blocks) => {
      const links = (await linksIn(folder)).length;
      return BigInt(links) * linkBytes + (await blocks.heldBytes());
    });
  }

  async growTo(bytes: bigint, signal: AbortSignal): Promise<void> {
    await this.#within(async (folder, blocks) => {
      await blocks.growTo(bytes / blocksShare, signal);
      for (let index = 0n; index < linksFor(bytes); index += 1n) {
        signal.throwIfAborted();
        await symlink(linkTarget, folder.entry(String(index))).catch((error: unknown) => {
          if (errorCode(error) !== 'EEXIST') throw error;
        });
      }
      await syncFileSystem(folder, signal);
    });
  }

  async shrinkTo(bytes: bigint, signal: AbortSignal): Promise<void> {
    await this.#within(async (folder, blocks) => {
      // to remove a name is what the kernel keeps room of its own for
      const left = Number(linksFor(bytes));
      for (const name of (await linksIn(folder)).slice(left)) {
        if ((await entryFacts(folder, name))?.kind === 'link') await removeFile(folder, name);
      }
      const ownBytes = bytes / blocksShare;
      if ((await blocks.heldBytes()) > ownBytes) await blocks.shrinkTo(ownBytes);
      // what is removed is free only when the change is on the disk
      await syncFileSystem(folder, signal);
    });
  }

  async #within<T>(act: (folder: Directory, blocks: ReserveFile) => Promise<T>): Promise<T> {
    const folder = await this.#parent.ensureChild(this.#name, 0o700);
    try {
      return await act(folder, new ReserveFile(folder, blocksName));
    } finally {
      await folder.close();
    }
  }
}

async function linksIn(folder: Directory): Promise<string[]> {
  // whatever else lies there is not ours to remove
  return (await folder.names()).filter((name) => /^\d+$/.test(name));
}

function linksFor(bytes: bigint): bigint {
  return (bytes - bytes / blocksShare) / linkBytes;
}
