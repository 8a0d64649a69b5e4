import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { descriptorPath, errorCode } from './descriptor.ts';
import type { Directory } from './directory.ts';
import type { Identity } from './path-facts.ts';

/** What an entry of a directory is, links not followed. */
export interface EntryFacts extends Identity {
  readonly kind: 'directory' | 'file' | 'link' | 'other';
  /** how many names it has */
  readonly links: bigint;
  readonly sizeBytes: bigint;
  readonly allocatedBytes: bigint;
  /** when its entries, content or attributes last changed */
  readonly changedAtMs: number;
}

/** undefined where there is no entry of that name. */
export async function entryFacts(dir: Directory, name: string): Promise<EntryFacts | undefined> {
  try {
    const found = await lstat(dir.entry(name), { bigint: true });
    const kind = found.isDirectory()
      ? 'directory'
      : found.isFile()
        ? 'file'
        : found.isSymbolicLink()
          ? 'link'
          : 'other';
    return {
      kind,
      device: found.dev,
      inode: found.ino,
      links: found.nlink,
      sizeBytes: found.size,
      allocatedBytes: found.blocks * 512n,
      changedAtMs: Number(found.ctimeMs),
    };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Device of the file system that the open directory is on. */
export async function deviceOf(dir: Directory): Promise<bigint> {
  return (await lstat(`${descriptorPath(dir.fd)}/.`, { bigint: true })).dev;
}

/** Takes a file from everybody but its owner, who becomes root where we are it; only through its own descriptor, never through a link. */
export async function makePrivate(dir: Directory, name: string): Promise<void> {
  const file = await open(dir.entry(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await file.chmod(0o600);
    if (process.geteuid?.() === 0) await file.chown(0, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}
