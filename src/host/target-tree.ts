import { constants } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { descriptorPath, entryPath } from './descriptor.ts';

const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Levels that stay open from the bottom up; those above are opened again through `..`, since nobody else moves them. */
const maximumHeld = 32;

/** A directory of the copy. It stays open as long as somebody holds it. */
export class TargetDirectory {
  #handle: FileHandle | undefined;
  #holders = 1;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  get fd(): number {
    if (this.#handle === undefined) throw new Error('a directory of the copy is not open');
    return this.#handle.fd;
  }

  entry(name: Buffer): Buffer {
    return entryPath(this.fd, name);
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  /** As `hold`, also after it was closed: by way of an open directory in it. */
  async holdFrom(child: TargetDirectory): Promise<void> {
    this.#handle ??= await open(`${descriptorPath(child.fd)}/..`, flags);
    this.#holders += 1;
  }

  async release(): Promise<void> {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

/** The way from the copy's root down to where the walk of its source is. Nobody but us reaches into the copy. */
export class TargetTree {
  readonly #parentFd: number;
  readonly #stack: TargetDirectory[] = [];

  constructor(parentFd: number) {
    this.#parentFd = parentFd;
  }

  get isAtTop(): boolean {
    return this.#stack.length === 0;
  }

  get current(): TargetDirectory {
    const directory = this.#stack.at(-1);
    if (directory === undefined) throw new Error('the copy has no directory yet');
    return directory;
  }

  /** Makes a directory that must not be there yet and goes into it. */
  async enter(name: Buffer): Promise<TargetDirectory> {
    const path = entryPath(this.#stack.at(-1)?.fd ?? this.#parentFd, name);
    await mkdir(path, { mode: 0o700 });
    const directory = new TargetDirectory(await open(path, flags));
    this.#stack.push(directory);
    await this.#stack.at(-1 - maximumHeld)?.release();
    return directory;
  }

  /** Goes up one level; whoever asked releases what was left. */
  async leave(): Promise<TargetDirectory> {
    const left = this.current;
    await this.#stack.at(-1 - maximumHeld)?.holdFrom(this.#at(-maximumHeld));
    this.#stack.pop();
    return left;
  }

  async close(): Promise<void> {
    for (const directory of this.#stack.splice(0).slice(-maximumHeld)) await directory.release();
  }

  #at(index: number): TargetDirectory {
    const directory = this.#stack.at(index);
    if (directory === undefined) throw new Error('the copy is not that many levels deep');
    return directory;
  }
}
