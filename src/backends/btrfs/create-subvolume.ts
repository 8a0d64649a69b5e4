import { descriptorPath } from '../../host/descriptor.ts';
import { Directory } from '../../host/directory.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { limitSubvolume, quotaState } from '../../host/qgroups.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { CommandError } from '../../host/run.ts';
import { commandPath, isSubvolume, makeSubvolume, subvolumeIdOf } from '../../host/subvolumes.ts';
import { setRootOwner } from '../../host/volume-root.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { dataName, type VolumePlace } from '../backend.ts';
import { rootOwnerOf } from '../root-owner.ts';
import { discardSubvolume, unfinishedName } from './discard-subvolumes.ts';
import { fileSystemOf, holdLimit, quotaIsOff } from './hold-limit.ts';
import { forgetData } from './volume-data.ts';

/**
 * Makes a volume's subvolume. It gets its name last, with owner and limit set: one that has its name is finished.
 * @throws StorageError 'limit-not-enforced' | 'out-of-space' | 'host-failure'
 */
export async function createSubvolume(
  place: VolumePlace,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<void> {
  await finishUnder(place, signal, async (parent) => {
    await makeSubvolume(parent, unfinishedName, signal);
    const made = await parent.openChild(unfinishedName);
    try {
      await setRootOwner(descriptorPath(made.fd), made.realPath, rootOwnerOf(spec));
      await limitUnfinished(parent, made, spec, signal);
    } finally {
      await made.close();
    }
  });
}

/** Sets the limit of a subvolume that nobody can reach yet; where others are inside, of all of them together. */
export async function limitUnfinished(
  parent: Directory,
  made: Directory,
  spec: VolumeSpec,
  signal: AbortSignal,
  hasNested = false,
): Promise<void> {
  if (spec.limit === 'advisory') return;
  const fileSystem = await fileSystemOf({ path: parent.realPath }, signal);
  if (quotaState(fileSystem).mode === 'off') throw quotaIsOff(fileSystem, `the size of volume ${spec.id}`);
  const id = await subvolumeIdOf(made, signal);
  if (hasNested) await holdLimit(fileSystem, { parent, directory: made, id }, spec, signal);
  else await limitSubvolume(commandPath(parent), id, spec.sizeBytes, signal);
}

/** Has `build` make the unfinished subvolume, unless there is a finished one, and gives it its name; a failure leaves nothing of it. */
export async function finishUnder<T>(
  place: VolumePlace,
  signal: AbortSignal,
  build: (parent: Directory) => Promise<T>,
): Promise<T | undefined> {
  const parent = await Directory.open(place.path);
  try {
    if (await isSubvolume(parent, dataName)) return undefined;
    forgetData(place);
    await discardSubvolume(parent, unfinishedName, signal);
    // or something else of that name
    await removeTree(parent, unfinishedName, { signal, pace: unlimitedPace });
    try {
      const built = await build(parent);
      await parent.rename(unfinishedName, parent, dataName);
      return built;
    } catch (error) {
      // what cannot be removed now is found by the next attempt
      await discardSubvolume(parent, unfinishedName, AbortSignal.timeout(30_000)).catch(() => {});
      throw failure(error, place);
    }
  } finally {
    await parent.close();
  }
}

function failure(error: unknown, { path }: VolumePlace): unknown {
  if (!(error instanceof CommandError)) return error;
  if (!/no space left|quota exceeded/i.test(error.stderr)) return error;
  const text = `btrfs has no room for a subvolume at ${path}; delete something, or add a disk to its file system`;
  return new StorageError('out-of-space', text, { cause: error });
}
