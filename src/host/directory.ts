import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { StorageError, messageOf } from '../model/errors.ts';
import { descriptorPath, errorCode } from './descriptor.ts';

const openFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * A directory held open. Everything below it is reached through its descriptor and one checked component at a time,
 * so that a parent which is renamed, or a link that is planted on the way, cannot lead elsewhere.
 *
 * Errors of the system keep their `code`; their message names the real path instead of the descriptor's.
 */
export class Directory {
  /** as it was opened: for messages, mount(8) and losetup */
  readonly realPath: string;
  readonly #handle: FileHandle;

  private constructor(realPath: string, handle: FileHandle) {
    this.realPath = realPath;
    this.#handle = handle;
  }

  /** Opens a directory whose last component must be one itself, not a link to one. */
  static async open(path: string): Promise<Directory> {
    return new Directory(path, await open(path, openFlags));
  }

  get fd(): number {
    return this.#handle.fd;
  }

  /**
   * The path of one entry, through the descriptor.
   * @throws StorageError 'invalid-argument' for a name that is not exactly one component
   */
  entry(name: string): string {
    return `${descriptorPath(this.fd)}/${checkedComponent(name)}`;
  }

  /** Where one entry is, for messages and commands that need a real path. */
  pathOf(name: string): string {
    return join(this.realPath, checkedComponent(name));
  }

  async openChild(name: string): Promise<Directory> {
    const path = this.pathOf(name);
    return new Directory(path, await this.#named(() => open(this.entry(name), openFlags)));
  }

  /** Makes the directory where it is absent, gives it exactly these permission bits and opens it. Not durable before `sync`. */
  async ensureChild(name: string, mode: number): Promise<Directory> {
    const isNew = await this.#made(name, mode);
    const child = await this.openChild(name);
    // no umask takes the owner's bits, so that a new private directory has its mode already
    if (isNew && (mode & 0o077) === 0) return child;
    try {
      // the umask has its say in mkdir, and an older one may have other bits
      await chmod(descriptorPath(child.fd), mode);
    } catch (error) {
      await child.close();
      throw error;
    }
    return child;
  }

  /** Makes a directory that must not be there yet and opens it; undefined where something has that name. For the owner only. */
  async makePrivateChild(name: string): Promise<Directory | undefined> {
    return (await this.#made(name, 0o700)) ? this.openChild(name) : undefined;
  }

  /** Names below, in no order. For directories of our own making: bytes that are not UTF-8 do not survive here. */
  names(): Promise<string[]> {
    return this.#named(() => readdir(descriptorPath(this.fd)));
  }

  /** Moves an entry, atomically; when it resolves both parents are on disk. A repeat after a crash finds ENOENT here or the entry there. */
  async rename(name: string, to: Directory, toName: string): Promise<void> {
    await this.#named(() => rename(this.entry(name), to.entry(toName)));
    await (to === this ? this.sync() : Promise.all([this.sync(), to.sync()]));
  }

  /** Makes what happened to the entries durable. */
  sync(): Promise<void> {
    return this.#handle.sync();
  }

  /** Whether there is an entry of any kind; a dangling link is one. */
  async exists(name: string): Promise<boolean> {
    try {
      await this.#named(() => lstat(this.entry(name)));
      return true;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Whether it was made now; false where something of that name is there. */
  async #made(name: string, mode: number): Promise<boolean> {
    return this.#named(async () => {
      try {
        await mkdir(this.entry(name), { mode });
        return true;
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
        return false;
      }
    });
  }

  async #named<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      const code = errorCode(error);
      if (code === undefined || error instanceof StorageError) throw error;
      const message = messageOf(error).replaceAll(descriptorPath(this.fd), this.realPath);
      throw Object.assign(new Error(message, { cause: error }), { code });
    }
  }
}

/** The name, if it is exactly one path component. @throws StorageError 'invalid-argument' */
export function checkedComponent(name: string): string {
  const bad = name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0');
  if (bad || Buffer.byteLength(name) > 255) {
    throw new StorageError('invalid-argument', `${JSON.stringify(name)} is not one name inside a directory`);
  }
  return name;
}
