import { btrfsAt } from '../../host/btrfs-file-systems.ts';
import type { Directory } from '../../host/directory.ts';
import { nestedSubvolumes, openNested, type NestedSubvolume } from '../../host/nested-subvolumes.ts';
import { limitSubvolume, quotaState, removeQgroups } from '../../host/qgroups.ts';
import { CommandError } from '../../host/run.ts';
import {
  commandPath,
  deleteSubvolume,
  deleteSubvolumeById,
  isSubvolume,
  setSubvolumeReadonly,
  subvolumeIdOf,
} from '../../host/subvolumes.ts';
import { whileOpen } from '../../host/while-open.ts';
import { dataName, type VolumePlace } from '../backend.ts';
import { forgetData, openIfThere } from './volume-data.ts';

export const unfinishedName = `${dataName}.new`;

/**
 * Deletes what subvolumes a volume or snapshot consists of, with all that its pods have made inside, and their quota groups. A
 * million files go at once; what is no subvolume is left to who removes file by file. Safe to repeat.
 */
export async function discardSubvolumes(place: VolumePlace, signal: AbortSignal): Promise<void> {
  await whileOpen(openIfThere(place.path), async (parent) => {
    if (parent === undefined) return;
    forgetData(place);
    for (const name of [dataName, unfinishedName]) await discardSubvolume(parent, name, signal);
  });
}

export async function discardSubvolume(parent: Directory, name: string, signal: AbortSignal): Promise<void> {
  if (!(await isSubvolume(parent, name))) return;
  const id = await whileOpen(parent.openChild(name), (outer) => subvolumeIdOf(outer, signal));
  const ids = [id];
  try {
    await deleteSubvolume(parent, name, signal);
  } catch (error) {
    if (!isAbout(error, 'not empty')) throw error;
    // there are others inside: a look at all of the file system, which the many without need not wait for
    const emptied = whileOpen(parent.openChild(name), (outer) => deleteNested(parent, outer, id, signal));
    ids.push(...(await emptied));
    await deleteSubvolume(parent, name, signal);
  }
  await removeQgroups(commandPath(parent), ids, signal);
}

/** @returns the ids of those that were inside */
async function deleteNested(
  parent: Directory,
  outer: Directory,
  outerId: bigint,
  signal: AbortSignal,
): Promise<bigint[]> {
  // however many: a repeat has fewer left
  const nested = await nestedSubvolumes(outer, outerId, signal, Number.POSITIVE_INFINITY);
  const ids = nested.map(({ id }) => id);
  // in a full subvolume the kernel would refuse even to delete
  await liftLimits(parent, [outerId, ...ids], signal);
  try {
    await deleteInnerFirst(outer, nested, signal);
  } catch (error) {
    if (!isAbout(error, 'read-only')) throw error;
    // what is read-only keeps what lies in it
    await setSubvolumeReadonly(outer, false, signal);
    const left = await nestedSubvolumes(outer, outerId, signal, Number.POSITIVE_INFINITY);
    for (const one of left)
      await whileOpen(openNested(outer, one, signal), (inner) => setSubvolumeReadonly(inner, false, signal));
    await deleteInnerFirst(outer, left, signal);
  }
  return ids;
}

function isAbout(error: unknown, words: string): boolean {
  return error instanceof CommandError && error.stderr.toLowerCase().includes(words);
}

async function deleteInnerFirst(
  outer: Directory,
  nested: readonly NestedSubvolume[],
  signal: AbortSignal,
): Promise<void> {
  for (const { id } of nested.toReversed()) await deleteSubvolumeById(outer, id, signal);
}

async function liftLimits(parent: Directory, ids: readonly bigint[], signal: AbortSignal): Promise<void> {
  const fileSystem = await btrfsAt(parent.realPath, signal);
  if (fileSystem === undefined || quotaState(fileSystem).mode === 'off') return;
  for (const id of ids) await limitSubvolume(commandPath(parent), id, undefined, signal);
}
