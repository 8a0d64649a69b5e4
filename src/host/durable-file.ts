import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { errorCode } from './descriptor.ts';
import type { Directory } from './directory.ts';

/** What half-written files are called until their rename; recovery may remove every such name. */
export const temporaryPrefix = '.tmp-';

// a FIFO in a file's place must not block us
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Writes a small file so that a reader, also one after kill -9 or power loss, sees the old content or the new one and
 * nothing between. When it resolves the new one is on disk; with `sync: false` it is only atomic, for what dies with the
 * boot anyway. A crash may leave a file that starts with `temporaryPrefix`; `removeTemporaries` clears those.
 */
export async function writeDurably(
  dir: Directory,
  name: string,
  content: string,
  options: { readonly mode?: number; readonly sync?: boolean } = {},
): Promise<void> {
  const { mode = 0o600, sync = true } = options;
  const target = dir.entry(name);
  const temporary = dir.entry(`${temporaryPrefix}${randomBytes(9).toString('hex')}`);
  const file = await open(temporary, createFlags, mode);
  try {
    try {
      await file.writeFile(content);
      // the umask may have taken bits away
      if (options.mode !== undefined) await file.chmod(mode);
      if (sync) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  if (sync) await dir.sync();
}

/** The content of a file, or undefined where there is none. A link in its place is an error (ELOOP), never followed. */
export async function readIfPresent(dir: Directory, name: string): Promise<string | undefined> {
  try {
    return await readFile(dir.entry(name), { encoding: 'utf8', flag: readFlags });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes what writes that a crash cut short left behind; answers how many there were. */
export async function removeTemporaries(dir: Directory): Promise<number> {
  let removed = 0;
  for (const name of await dir.names()) {
    if (!name.startsWith(temporaryPrefix)) continue;
    await unlink(dir.entry(name));
    removed += 1;
  }
  return removed;
}
