import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { locate, mountAt, readMounts } from '../host/mountinfo.ts';
import { canonicalTarget } from '../host/mounts.ts';
import { dataName, type VolumePlace } from './backend.ts';

/** Whether what is mounted at the staging path is this volume's directory, and not another's. */
export async function isDirectoryStaged(place: VolumePlace, stagingPath: string): Promise<boolean> {
  const mounts = await readMounts();
  const staged = mountAt(mounts, await canonicalTarget(stagingPath).catch(() => stagingPath));
  const data = locate(mounts, await realpath(join(place.path, dataName)).catch(() => place.path));
  return staged !== undefined && staged.device === data?.device && staged.root === data.root;
}
