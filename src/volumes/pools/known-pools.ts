import type { Directory } from '../../host/directory.ts';
import { readIfPresent, writeDurably } from '../../host/durable-file.ts';
import { StorageError } from '../../model/errors.ts';

const fileName = 'known-pools.json';

interface KnownPool {
  readonly uuid: string;
  readonly name: string;
  /** every path at which it was seen */
  readonly paths: readonly string[];
}

/**
 * The pools that this node has seen, remembered outside of them: so an empty mount point is recognised as a disk that
 * is missing, and a volume of a missing disk is not taken for one that never was.
 */
export class KnownPools {
  readonly #directory: Directory;
  readonly #pools: Map<string, KnownPool>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(directory: Directory, pools: Map<string, KnownPool>) {
    this.#directory = directory;
    this.#pools = pools;
  }

  /** @throws StorageError 'data-loss' where the file cannot be read: guessing here could lose a disk */
  static async load(stateDir: Directory): Promise<KnownPools> {
    try {
      const text = await readIfPresent(stateDir, fileName);
      const pools = text === undefined ? [] : parse(text, stateDir.pathOf(fileName));
      return new KnownPools(stateDir, new Map(pools.map((pool) => [pool.uuid, pool])));
    } catch (error) {
      await stateDir.close();
      throw error;
    }
  }

  /** The uuid of a pool that was seen at this path. */
  uuidAt(path: string): string | undefined {
    for (const pool of this.#pools.values()) if (pool.paths.includes(path)) return pool.uuid;
    return undefined;
  }

  isKnown(uuid: string): boolean {
    return this.#pools.has(uuid);
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#directory.close();
  }

  /** Durable when it resolves. */
  async remember(uuid: string, name: string, path: string): Promise<void> {
    const before = this.#pools.get(uuid);
    if (before?.name === name && before.paths.includes(path)) return;
    const paths = [...new Set([...(before?.paths ?? []), path])];
    this.#pools.set(uuid, { uuid, name, paths });
    const write = async (): Promise<void> => {
      const content = { schema: 1, pools: [...this.#pools.values()] };
      await writeDurably(this.#directory, fileName, `${JSON.stringify(content, undefined, 2)}\n`, {
        mode: 0o600,
      });
    };
    this.#writing = this.#writing.then(write, write);
    await this.#writing;
  }
}

function parse(text: string, path: string): KnownPool[] {
  const broken = (cause?: unknown): StorageError =>
    new StorageError(
      'data-loss',
      `${path} cannot be read; mend it, or remove it when all pools are mounted`,
      { cause },
    );
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw broken(error);
  }
  const pools = (content as { pools?: unknown } | null)?.pools;
  if (!Array.isArray(pools) || !pools.every(isKnownPool)) throw broken();
  return pools;
}

function isKnownPool(value: unknown): value is KnownPool {
  if (typeof value !== 'object' || value === null) return false;
  const pool = value as Partial<Record<keyof KnownPool, unknown>>; // each field is checked
  return (
    typeof pool.uuid === 'string' &&
    typeof pool.name === 'string' &&
    Array.isArray(pool.paths) &&
    pool.paths.every((path) => typeof path === 'string')
  );
}
