import type { BigIntStats } from 'node:fs';

/** A file that must not or cannot be erased, and why, as the end of a sentence that begins with its path. */
export interface Unerased {
  readonly path: string;
  readonly why: string;
}

interface Links {
  readonly total: bigint;
  seen: bigint;
  readonly path: string;
  isErased: boolean;
}

/**
 * Counts the links of each inode inside a tree. A file with several links is the volume's own only if all of them are
 * inside: overwriting any other would reach outside. So such files wait for a second pass, when all were counted.
 */
export class HardLinks {
  readonly #byInode = new Map<string, Links>();
  isSecondPass = false;

  /** Whether the file is to be erased now: it has one link, or this is the second pass and its first turn in it. */
  isToErase(stat: BigIntStats, path: string): boolean {
    const key = `${stat.dev}:${stat.ino}`;
    const links = this.#byInode.get(key);
    if (this.isSecondPass) {
      if (links === undefined || links.isErased || links.seen < links.total || stat.nlink > links.total)
        return false;
      links.isErased = true;
      return true;
    }
    if (stat.nlink <= 1n) return true;
    if (links === undefined) this.#byInode.set(key, { total: stat.nlink, seen: 1n, path, isErased: false });
    else links.seen += 1n;
    return false;
  }

  /** Whether there is anything for a second pass to erase. */
  beginSecondPass(): boolean {
    this.isSecondPass = true;
    return [...this.#byInode.values()].some((links) => links.seen >= links.total);
  }

  /** The files that were left alone. */
  outside(): Unerased[] {
    return [...this.#byInode.values()]
      .filter((links) => !links.isErased)
      .map((links) => ({
        path: links.path,
        why: `has ${links.total} hard links of which ${links.seen} are inside the volume`,
      }));
  }
}
