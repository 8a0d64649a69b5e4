import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { locate, mountAt, readMounts } from '../host/mountinfo.ts';
import { canonicalTarget } from '../host/mounts.ts';
import type { CallContext } from '../model/csi-driver.ts';
import type { VolumeSpec } from '../model/volume.ts';
import { dataName, type BackendFeatures, type MountIntent, type VolumePlace } from './backend.ts';
import { BoundVolume } from './bound-volume.ts';
import { notStaged } from './not-staged.ts';
import { bindDirectory, publishDirectory } from './publish-directory.ts';
import { usersOfDirectory } from './users-of-directory.ts';

/**
 * What is the same of every volume that is a directory `data` of the pool's own file system: what is staged and published of
 * it can be read from mountinfo.
 */
export abstract class MountedDirectory extends BoundVolume {
  readonly features: BackendFeatures = { fsTypes: [], block: false, thick: false };

  async publish(
    place: VolumePlace,
    spec: VolumeSpec,
    stagingPath: string,
    target: MountIntent,
    call: CallContext,
  ): Promise<void> {
    if (!(await isStaged(place, stagingPath))) throw notStaged(spec.id, stagingPath);
    await publishDirectory(stagingPath, target, this.bindOptions(call));
  }

  async users(place: VolumePlace): Promise<readonly string[]> {
    return usersOfDirectory(place);
  }

  /** Mounts `data`, which was seen to be there, at the staging path. */
  protected bind(place: VolumePlace, intent: MountIntent, call: CallContext): Promise<void> {
    return bindDirectory(join(place.path, dataName), intent, this.bindOptions(call));
  }
}

/** Whether what is mounted at the staging path is this volume's directory, and not another's. */
async function isStaged(place: VolumePlace, stagingPath: string): Promise<boolean> {
  const mounts = await readMounts();
  const staged = mountAt(mounts, await canonicalTarget(stagingPath).catch(() => stagingPath));
  const data = locate(mounts, await realpath(join(place.path, dataName)).catch(() => place.path));
  return staged !== undefined && staged.device === data?.device && staged.root === data.root;
}
