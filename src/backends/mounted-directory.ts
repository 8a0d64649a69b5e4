import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { locate, mountAt, readMounts } from '../host/mountinfo.ts';
import { canonicalTarget, ensureUnmounted } from '../host/mounts.ts';
import type { CallContext } from '../model/csi-driver.ts';
import type { VolumeSpec } from '../model/volume.ts';
import { dataName, type BackendFeatures, type MountIntent, type VolumePlace } from './backend.ts';
import { notStaged } from './not-staged.ts';
import { bindDirectory, publishDirectory } from './publish-directory.ts';
import { usersOfDirectory } from './users-of-directory.ts';

/**
 * What is the same of every volume that is a directory `data` of the pool's own file system: it is bind-mounted, so that what is staged
 * and published can be read from mountinfo and nothing has to be remembered.
 */
export abstract class MountedDirectory {
  readonly features: BackendFeatures = { fsTypes: [], block: false, thick: false };
  protected readonly poolPaths: readonly string[];

  /** @param options.poolPaths no target may lie in one of these */
  constructor(options: { readonly poolPaths?: readonly string[] } = {}) {
    this.poolPaths = options.poolPaths ?? [];
  }

  initialBytes(): bigint {
    return 0n;
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
    // held by mounts only
  }

  /** Mounts `data`, which was seen to be there, at the staging path. */
  protected bind(place: VolumePlace, intent: MountIntent, call: CallContext): Promise<void> {
    return bindDirectory(join(place.path, dataName), intent, this.#options(call));
  }

  #options(call: CallContext): Parameters<typeof bindDirectory>[2] {
    return { fsType: undefined, outside: this.poolPaths, signal: call.signal };
  }
}

/** Whether what is mounted at the staging path is this volume's directory, and not another's. */
async function isStaged(place: VolumePlace, stagingPath: string): Promise<boolean> {
  const mounts = await readMounts();
  const staged = mountAt(mounts, await canonicalTarget(stagingPath).catch(() => stagingPath));
  const data = locate(mounts, await realpath(join(place.path, dataName)).catch(() => place.path));
  return staged !== undefined && staged.device === data?.device && staged.root === data.root;
}
