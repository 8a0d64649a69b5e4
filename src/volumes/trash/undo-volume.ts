import type { Backend } from '../../backends/backend.ts';
import type { Directory } from '../../host/directory.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { removeTree } from '../../host/remove-tree.ts';
import type { EntryId } from '../../model/snapshot-id.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { recordNames } from '../records/entry-record.ts';

interface Made {
  readonly id: EntryId;
  readonly spec?: VolumeSpec;
  readonly backend?: Backend;
}

/**
 * Removes a volume or snapshot that was never answered for: nobody has data in it. The intent goes last, so that a crash on the
 * way leaves something that recovery still knows for what it is.
 */
export async function undoVolume(folder: Directory, made: Made, signal: AbortSignal): Promise<void> {
  const { id } = made;
  if (!(await folder.exists(id))) return;
  try {
    await takeApart(folder, made, signal);
  } catch (error) {
    // gone all the same: what a power cut may bring back is an intent at most, which the next start removes
    if (await folder.exists(id)) throw error;
  }
}

async function takeApart(folder: Directory, made: Made, signal: AbortSignal): Promise<void> {
  const { id, spec, backend } = made;
  if (spec !== undefined) await backend?.release({ path: folder.pathOf(id) }, spec, signal);
  await backend?.discard?.({ path: folder.pathOf(id) }, signal);
  await removeTree(folder, id, { signal, pace: unlimitedPace, keep: recordNames });
  await removeTree(folder, id, { signal, pace: unlimitedPace });
}
