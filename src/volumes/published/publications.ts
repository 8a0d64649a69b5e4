import { createHash } from 'node:crypto';
import type { Directory } from '../../host/directory.ts';
import { readIfPresent, removeTemporaries, writeDurably } from '../../host/durable-file.ts';
import { removeFile } from '../../host/entries.ts';
import { inLanes } from '../../host/lanes.ts';
import { mountAt, readMounts, type Mount } from '../../host/mountinfo.ts';
import { bootId, openOrMake, resolveParent } from '../../host/path-facts.ts';
import type { AccessMode } from '../../model/access-mode.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import { formatPublication, parsePublication } from './publication-file.ts';

/** One stage or publish of this boot, with the arguments that a repeat has to have. */
export interface Publication {
  readonly kind: 'stage' | 'publish';
  readonly volumeId: string;
  readonly poolUuid: string;
  /** links of its parents resolved, as mountinfo has it */
  readonly path: string;
  readonly readonly: boolean;
  readonly accessMode: AccessMode;
  readonly accessType: 'mount' | 'block';
  readonly fsType: string;
  readonly mountFlags: readonly string[];
  /** a stage that no mount shows, of a raw block device or a mounted disk: it lives while it is remembered */
  readonly mountsNothing: boolean;
}

/**
 * The arguments of live stages and publishes, a small file each below `<runDir>/<boot-id>/`, so that they survive a
 * restart of this process and die with the mounts at a reboot. Written before the mount is made: whether something
 * *is* mounted, mountinfo alone says.
 */
export class Publications {
  readonly #directory: Directory;
  readonly #byPath = new Map<string, Publication>();
  readonly #readMounts: () => Promise<readonly Mount[]>;

  private constructor(directory: Directory, mounts: () => Promise<readonly Mount[]>) {
    this.#directory = directory;
    this.#readMounts = mounts;
  }

  /** Reads what an earlier process of this boot left, and forgets what is not mounted any more. */
  static async load(
    runDir: string,
    log: Log,
    mounts: () => Promise<readonly Mount[]> = readMounts,
  ): Promise<Publications> {
    const run = await openOrMake(runDir, 0o700);
    const directory = await run.ensureChild(await bootId(), 0o700);
    await run.close();
    await removeTemporaries(directory);
    const publications = new Publications(directory, mounts);
    await inLanes(await directory.names(), 16, async (name) => {
      try {
        const text = await readIfPresent(directory, name);
        const found = parsePublication(text ?? '', directory.pathOf(name));
        publications.#byPath.set(found.path, found);
      } catch (error) {
        log.warn(
          { path: directory.pathOf(name), error: messageOf(error) },
          'publication forgotten, it cannot be read',
        );
        await removeFile(directory, name);
      }
    });
    await publications.reconcile();
    return publications;
  }

  /** Forgets what is not mounted any more. */
  async reconcile(): Promise<void> {
    const mounts = await this.#readMounts();
    for (const publication of this.#byPath.values()) {
      if (!isLive(publication, mounts)) await this.remove(publication.path);
    }
  }

  /** The publication at this path, mounted or about to be. */
  at(path: string): Publication | undefined {
    return this.#byPath.get(path);
  }

  /** The publication at this path, if it is mounted. */
  async liveAtPath(path: string): Promise<Publication | undefined> {
    const found = this.#byPath.get(path);
    return found !== undefined && isLive(found, await this.#readMounts()) ? found : undefined;
  }

  /** All of a volume that are mounted. */
  async liveAt(volumeId: string): Promise<readonly Publication[]> {
    const own = [...this.#byPath.values()].filter((publication) => publication.volumeId === volumeId);
    if (own.length === 0) return own;
    const mounts = await this.#readMounts();
    return own.filter((publication) => isLive(publication, mounts));
  }

  /** All that are mounted, of every volume. */
  async live(): Promise<readonly Publication[]> {
    const mounts = await this.#readMounts();
    return [...this.#byPath.values()].filter((publication) => isLive(publication, mounts));
  }

  /** Whether the volume was staged in this boot and not unstaged since. */
  isStaged(volumeId: string): boolean {
    return [...this.#byPath.values()].some(({ kind, volumeId: of }) => kind === 'stage' && of === volumeId);
  }

  /** Survives kill -9. */
  async put(publication: Publication): Promise<void> {
    await writeDurably(this.#directory, nameOf(publication.path), formatPublication(publication), {
      sync: false,
    });
    this.#byPath.set(publication.path, publication);
  }

  async remove(path: string): Promise<void> {
    this.#byPath.delete(path);
    await removeFile(this.#directory, nameOf(path));
  }

  async close(): Promise<void> {
    await this.#directory.close();
  }

  /** What is mounted at a path now. */
  async mountAt(path: string): Promise<Mount | undefined> {
    return mountAt(await this.#readMounts(), path);
  }
}

/** The path as this class and mountinfo know it. */
export function publishedPath(path: string): Promise<string> {
  return resolveParent(path.length > 1 ? path.replace(/\/+$/, '') : path);
}

function isLive(publication: Publication, mounts: readonly Mount[]): boolean {
  return publication.mountsNothing || mountAt(mounts, publication.path) !== undefined;
}

function nameOf(path: string): string {
  return `${createHash('sha256').update(path).digest('hex').slice(0, 40)}.json`;
}
