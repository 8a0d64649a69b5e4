import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { locate, mountAt, readMounts } from '../../host/mountinfo.ts';
import { canonicalTarget, ensureUnmounted } from '../../host/mounts.ts';
import { kindAt } from '../../host/path-facts.ts';
import { createRootDirectory } from '../../host/volume-root.ts';
import type { CallContext, VolumeCondition } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import {
  dataName,
  type Backend,
  type BackendFeatures,
  type BackendProbe,
  type MountIntent,
  type VolumePlace,
} from '../backend.ts';
import { fileSystemEntries } from '../file-system-entries.ts';
import { notStaged } from '../not-staged.ts';
import { poolFault } from '../pool-fault.ts';
import { bindDirectory, publishDirectory } from '../publish-directory.ts';
import { rootOwnerOf } from '../root-owner.ts';
import { probeDirectories } from './probe.ts';
import { usersOfDirectory } from './users.ts';

/**
 * A volume is a directory of the pool's file system. Staging bind-mounts it, so that what is staged and published can be
 * read from mountinfo and nothing has to be remembered. Nothing holds a pod to the size it asked for.
 */
export class DirectoryBackend implements Backend {
  readonly name = 'directory';
  readonly features: BackendFeatures = { fsTypes: [], block: false, thick: false };
  readonly #poolPaths: readonly string[];

  /** @param options.poolPaths no target may lie in one of these */
  constructor(options: { readonly poolPaths?: readonly string[] } = {}) {
    this.#poolPaths = options.poolPaths ?? [];
  }

  async probe(scratch: VolumePlace): Promise<BackendProbe> {
    return probeDirectories(scratch);
  }

  initialBytes(): bigint {
    return 0n;
  }

  async create(place: VolumePlace, spec: VolumeSpec): Promise<void> {
    if (spec.accessType === 'block') {
      throw new StorageError(
        'unsupported-capability',
        'a directory cannot be a block volume; use backend: loopback',
      );
    }
    await createRootDirectory(place.path, dataName, rootOwnerOf(spec));
  }

  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void> {
    const source = join(place.path, dataName);
    if ((await kindAt(source)) !== 'directory') throw missing(place, spec);
    await bindDirectory(source, intent, this.#options(call));
  }

  async unstage(
    _place: VolumePlace,
    _spec: VolumeSpec,
    stagingPath: string,
    call: CallContext,
  ): Promise<void> {
    await ensureUnmounted(stagingPath, call.signal);
  }

  async publish(
    place: VolumePlace,
    spec: VolumeSpec,
    stagingPath: string,
    target: MountIntent,
    call: CallContext,
  ): Promise<void> {
    if (!(await isStaged(place, stagingPath))) throw notStaged(spec.id, stagingPath);
    await publishDirectory(stagingPath, target, this.#options(call));
  }

  async users(place: VolumePlace): Promise<readonly string[]> {
    return usersOfDirectory(place);
  }

  async release(): Promise<void> {
    // a directory is held by mounts only
  }

  async usage(_place: VolumePlace, _spec: VolumeSpec, volumePath: string): Promise<readonly UsageEntry[]> {
    // of the pool's whole file system: what this directory takes of it is known only to who walks it
    return fileSystemEntries(volumePath);
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    if ((await kindAt(join(place.path, dataName))) !== 'directory') {
      return { abnormal: true, message: missing(place, spec).message };
    }
    const fault = poolFault(await readMounts(), await realpath(place.path));
    return fault === undefined
      ? { abnormal: false, message: 'the directory is there' }
      : { abnormal: true, message: fault };
  }

  #options(call: CallContext): Parameters<typeof bindDirectory>[2] {
    return { fsType: undefined, outside: this.#poolPaths, signal: call.signal };
  }
}

async function isStaged(place: VolumePlace, stagingPath: string): Promise<boolean> {
  const mounts = await readMounts();
  const staged = mountAt(mounts, await canonicalTarget(stagingPath).catch(() => stagingPath));
  const data = locate(mounts, await realpath(join(place.path, dataName)).catch(() => place.path));
  return staged !== undefined && staged.device === data?.device && staged.root === data.root;
}

function missing(place: VolumePlace, spec: VolumeSpec): StorageError {
  return new StorageError(
    'data-loss',
    `the directory ${join(place.path, dataName)} of volume ${spec.id} is gone; restore it or delete the volume`,
  );
}
