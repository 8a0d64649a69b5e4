import { chmod, lstat, mkdir, rename, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { StorageError } from '../model/errors.ts';

/** sun_path without its NUL */
const maxSocketPathBytes = 107;

/** Whose socket lies under a path: ours, nobody's, somebody's who answers, or a dead one. */
export type SocketState = 'ours' | 'missing' | 'theirs' | 'dead';

/**
 * The name of a listening Unix socket, mode 0600.
 *
 * The socket is bound beside its name and then renamed: the name is never there without a listener, a predecessor's
 * socket (living or dead) is replaced in one step, and the predecessor's runtime, which on close unlinks the name that it
 * has bound, cannot take ours away. A crash leaves at most the hidden name, which the next start removes.
 */
export class SocketFile {
  readonly path: string;
  readonly #identity: string;

  private constructor(path: string, identity: string) {
    this.path = path;
    this.#identity = identity;
  }

  /**
   * @param listen binds a listener to the path that it is given
   * @throws StorageError 'host-failure' where something that is no socket lies there, or the path is too long
   */
  static async create(path: string, listen: (boundPath: string) => Promise<void>): Promise<SocketFile> {
    const hiddenPath = join(dirname(path), `.${basename(path)}`);
    const bytes = Buffer.byteLength(hiddenPath);
    if (bytes > maxSocketPathBytes) {
      throw new StorageError(
        'host-failure',
        `socket path ${path} is ${bytes - maxSocketPathBytes} bytes too long; choose a shorter one`,
      );
    }
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    await refuseOther(path);
    await refuseOther(hiddenPath);
    await unlinkIfPresent(hiddenPath);
    await listen(hiddenPath);
    await chmod(hiddenPath, 0o600);
    const identity = await identityOf(hiddenPath);
    if (identity === undefined)
      throw new StorageError('host-failure', `socket ${hiddenPath} was removed while it was being made`);
    await rename(hiddenPath, path);
    return new SocketFile(path, identity);
  }

  async state(): Promise<SocketState> {
    const found = await identityOf(this.path);
    if (found === undefined) return 'missing';
    if (found === this.#identity) return 'ours';
    return (await answers(this.path)) ? 'theirs' : 'dead';
  }

  /**
   * Removes the name if it is still ours. To be called while the listener is open: only then nobody else's socket can have
   * got the same inode number.
   */
  async remove(): Promise<void> {
    if ((await identityOf(this.path)) === this.#identity) await unlinkIfPresent(this.path);
  }
}

/** Whether anybody accepts a connection there. */
async function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once('connect', () => resolve(true));
  socket.once('error', () => resolve(false));
  const answered = await promise;
  socket.destroy();
  return answered;
}

async function identityOf(path: string): Promise<string | undefined> {
  const found = await statIfPresent(path);
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}

async function refuseOther(path: string): Promise<void> {
  const found = await statIfPresent(path);
  if (found === undefined || found.isSocket()) return;
  throw new StorageError(
    'host-failure',
    `${path} is there and is no socket; remove it or configure another socket path`,
  );
}

async function statIfPresent(path: string) {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function unlinkIfPresent(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
