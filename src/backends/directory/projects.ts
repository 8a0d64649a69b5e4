import { join } from 'node:path';
import { errorCode } from '../../host/descriptor.ts';
import { kindAt } from '../../host/path-facts.ts';
import {
  limitProject,
  listProjects,
  projectQuotaMount,
  projectsOf,
  setProject,
  shownSpace,
  type ProjectLimit,
} from '../../host/project-quota.ts';
import { StorageError } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { dataName, type VolumePlace } from '../backend.ts';

/** Ids from here on are ours; below are those that administrators give in /etc/projects. */
export const firstProject = 0x10ad_0000;
export const lastProject = 0x10ad_ffff;
const blockBytes = 4096n;
const minimumInodes = 1024n;
const noLimit: ProjectLimit = { bytes: 0n, inodes: 0n };

/**
 * Which project each volume is. The file system keeps both halves of the truth: the id on the volume's directory, and use and limit by
 * id. So an id is free that the file system knows nothing of, and nothing has to be remembered. One at a time: between the
 * question and the new limit nobody else may take the id.
 */
export class Projects {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Puts an empty directory into a project of its own with a limit, which holds before anything is written to it.
   * @param path a directory that nobody else reaches yet
   * @throws StorageError 'limit-not-enforced' where the file system has no project quota; 'host-failure'
   */
  async begin(path: string, sizeBytes: bigint, signal: AbortSignal): Promise<void> {
    const mountPoint = await projectQuotaMount(path);
    if (mountPoint === undefined) throw notEnforced(path);
    await this.#alone(async () => {
      // an earlier try that a crash cut short
      const present = (await projectsOf([path], signal)).get(path);
      const id = isOurs(present) ? present : freeProject(await listProjects(mountPoint, signal));
      await limitProject(mountPoint, id, limitOf(sizeBytes), signal);
      if (present !== id) await setProject(path, id, signal);
    });
  }

  /** Changes the limit of a volume that has a project; undefined takes it away. @throws StorageError 'limit-not-enforced' */
  async change(place: VolumePlace, sizeBytes: bigint | undefined, signal: AbortSignal): Promise<void> {
    const path = join(place.path, dataName);
    const mountPoint = await projectQuotaMount(path);
    const id = mountPoint === undefined ? undefined : (await projectsOf([path], signal)).get(path);
    if (mountPoint === undefined || !isOurs(id)) {
      if (sizeBytes === undefined) return;
      throw notEnforced(path);
    }
    await limitProject(mountPoint, id, sizeBytes === undefined ? noLimit : limitOf(sizeBytes), signal);
  }

  /**
   * Whether a directory that we filled is within its limit: ext4 lets whoever has CAP_SYS_RESOURCE, as we do, take more.
   * @throws StorageError 'out-of-space'
   */
  async check(path: string, signal: AbortSignal): Promise<void> {
    const mountPoint = await projectQuotaMount(path);
    const id = (await projectsOf([path], signal)).get(path);
    if (mountPoint === undefined || !isOurs(id)) throw notEnforced(path);
    const found = (await listProjects(mountPoint, signal)).find((project) => project.id === id);
    if (found === undefined) throw notEnforced(path);
    const { usedBytes, limitBytes, usedInodes, limitInodes } = found;
    if (usedBytes <= limitBytes && usedInodes <= limitInodes) return;
    throw new StorageError(
      'out-of-space',
      `the data takes ${formatBytes(usedBytes)} and ${usedInodes} inodes, ${path} may have ${formatBytes(limitBytes)} and ${limitInodes}; ask for more`,
    );
  }

  /** Gives back the ids of what is to be removed. They are free when its last file is gone. */
  async end(place: VolumePlace, names: readonly string[], signal: AbortSignal): Promise<void> {
    const mountPoint = await projectQuotaMount(place.path).catch(() => undefined);
    if (mountPoint === undefined) return;
    for (const name of names) {
      const path = join(place.path, name);
      if ((await kindAt(path)) !== 'directory') continue;
      const id = (await projectsOf([path], signal)).get(path);
      if (isOurs(id)) await limitProject(mountPoint, id, noLimit, signal);
    }
  }

  /** Takes away limits of projects without a file, not even a directory: a crash came between the limit and the id. */
  async removeStale(mountPoint: string, signal: AbortSignal): Promise<void> {
    await this.#alone(async () => {
      for (const { id, usedInodes } of await listProjects(mountPoint, signal)) {
        if (isOurs(id) && usedInodes === 0n) await limitProject(mountPoint, id, noLimit, signal);
      }
    });
  }

  #alone<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#last.then(act, act);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** What a volume of this size may have: no more files than it has blocks, since empty ones take room too, elsewhere. */
export function limitOf(sizeBytes: bigint): ProjectLimit {
  const inodes = sizeBytes / blockBytes;
  return { bytes: sizeBytes, inodes: inodes < minimumInodes ? minimumInodes : inodes };
}

/** The first of our ids that the file system knows nothing of. @throws StorageError 'host-failure' */
export function freeProject(known: readonly { readonly id: number }[]): number {
  const taken = new Set(known.map(({ id }) => id));
  for (let id = firstProject; id <= lastProject; id += 1) if (!taken.has(id)) return id;
  throw new StorageError('host-failure', 'every project id of volumes is taken; delete volumes');
}

/** What is wrong with the limit of a volume that is held to its size; undefined: nothing. One system call. */
export async function quotaFault(place: VolumePlace, spec: VolumeSpec): Promise<string | undefined> {
  const { totalBytes } = await shownSpace(join(place.path, dataName));
  if (totalBytes <= spec.sizeBytes + blockBytes) return undefined;
  return (
    `the quota of volume ${spec.id} is gone: ${formatBytes(totalBytes)} can be written to it and not ${formatBytes(spec.sizeBytes)}; ` +
    'mount the pool with the option prjquota'
  );
}

/** The size that a volume is held to; undefined where nothing holds it, or nothing is there. Two system calls. */
export async function heldSize(place: VolumePlace): Promise<bigint | undefined> {
  try {
    const [own, around] = await Promise.all([shownSpace(join(place.path, dataName)), shownSpace(place.path)]);
    // what is in no project shows what the directory around it shows
    return own.totalBytes < around.totalBytes ? own.totalBytes : undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function isOurs(id: number | undefined): id is number {
  return id !== undefined && id >= firstProject && id <= lastProject;
}

function notEnforced(path: string): StorageError {
  return new StorageError(
    'limit-not-enforced',
    `nothing holds ${path} to a size: its file system has no project quota, or it was made without; use backend: loopback, or limit: advisory`,
  );
}
