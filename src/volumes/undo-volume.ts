import type { Backend } from '../backends/backend.ts';
import type { Directory } from '../host/directory.ts';
import { unlimitedPace } from '../host/pace.ts';
import { removeTree } from '../host/remove-tree.ts';
import type { VolumeId } from '../model/volume-id.ts';
import type { VolumeSpec } from '../model/volume.ts';
import { recordName } from './record.ts';

/**
 * Removes a volume that was never answered for: nobody has data in it. The intent goes last, so that a crash on the
 * way leaves something that recovery still knows for what it is.
 */
export async function undoVolume(
  volumes: Directory,
  made: { readonly id: VolumeId; readonly spec?: VolumeSpec; readonly backend?: Backend },
  signal: AbortSignal,
): Promise<void> {
  const { id, spec, backend } = made;
  if (!(await volumes.exists(id))) return;
  if (spec !== undefined) await backend?.release({ path: volumes.pathOf(id) }, spec, signal);
  await removeTree(volumes, id, { signal, pace: unlimitedPace, keep: [recordName] });
  await removeTree(volumes, id, { signal, pace: unlimitedPace });
}
