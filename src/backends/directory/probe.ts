import { createRootDirectory } from '../../host/volume-root.ts';
import { removeTarget } from '../../host/targets.ts';
import { messageOf } from '../../model/errors.ts';
import type { BackendProbe, VolumePlace } from '../backend.ts';
import { defaultRootMode } from '../root-owner.ts';
import { join } from 'node:path';

const probeName = 'probe-directory';

/** Directories work wherever one can be made; their sizes are only a promise until a quota holds them. */
export async function probeDirectories(scratch: VolumePlace): Promise<BackendProbe> {
  try {
    await createRootDirectory(scratch.path, probeName, { mode: defaultRootMode, uid: 0, gid: 0 });
    await removeTarget(join(scratch.path, probeName));
  } catch (error) {
    return { usable: false, detail: `directories cannot be made: ${messageOf(error)}` };
  }
  return { usable: true, enforcesLimit: false, detail: 'no quota: sizes of directories are advisory' };
}
