import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { btrfsAt, type BtrfsFileSystem } from '../../host/btrfs-file-systems.ts';
import { Directory } from '../../host/directory.ts';
import {
  enableQuota,
  limitSubvolume,
  quotaState,
  removeQgroups,
  removeStaleQgroups,
} from '../../host/qgroups.ts';
import { CommandError, run } from '../../host/run.ts';
import {
  awaitDeletion,
  commandPath,
  deleteSubvolume,
  isSubvolume,
  makeSubvolume,
  subvolumeIdOf,
} from '../../host/subvolumes.ts';
import { whileOpen } from '../../host/while-open.ts';
import { messageOf } from '../../model/errors.ts';
import type { BackendProbe, VolumePlace } from '../backend.ts';
import { provisionalBy } from '../may-pass.ts';

const probeName = 'probe-subvolume';
const limitBytes = 8n << 20n;

/**
 * Makes a subvolume, limits it and writes past that. Counting costs every snapshot and delete of a file system something, images
 * included, so it is turned on only for pools that may use it, and only where the whole file system is the pool's; elsewhere its
 * owner decides.
 *
 * @param quotaPaths pools that may use it
 */
export async function probeSubvolumes(
  scratch: VolumePlace,
  quotaPaths: readonly string[],
  signal: AbortSignal,
): Promise<BackendProbe> {
  const fileSystem = await btrfsAt(scratch.path, signal);
  if (fileSystem === undefined) return { usable: false, detail: "the pool's file system is not btrfs" };
  return whileOpen(Directory.open(scratch.path), (directory) =>
    tryIn(fileSystem, directory, quotaPaths, signal),
  );
}

async function tryIn(
  fileSystem: BtrfsFileSystem,
  directory: Directory,
  quotaPaths: readonly string[],
  signal: AbortSignal,
): Promise<BackendProbe> {
  try {
    await removeProbe(directory, signal);
    await makeSubvolume(directory, probeName, signal);
    return await tryLimit(fileSystem, directory, quotaPaths, signal);
  } catch (error) {
    const detail = `subvolumes cannot be made: ${messageOf(error)}`;
    return { usable: false, detail, ...provisionalBy(error) };
  } finally {
    await removeProbe(directory, AbortSignal.timeout(30_000));
  }
}

async function tryLimit(
  fileSystem: BtrfsFileSystem,
  scratch: Directory,
  quotaPaths: readonly string[],
  signal: AbortSignal,
): Promise<BackendProbe> {
  const unlimited = (why: string): BackendProbe => ({ usable: true, enforcesLimit: false, detail: why });
  const pools = await Promise.all(quotaPaths.map((path) => realpath(path).catch(() => path)));
  const isOurs = fileSystem.mountedRoot === '/' && pools.includes(fileSystem.mountPoint);
  try {
    if (isOurs && quotaState(fileSystem).mode === 'off') await enableQuota(fileSystem.mountPoint, signal);
    const { mode } = quotaState(fileSystem);
    if (mode === 'off') {
      return unlimited(
        `quota is off on ${fileSystem.mountPoint}; to have sizes held: btrfs quota enable ${fileSystem.mountPoint}`,
      );
    }
    if (isOurs) await removeStaleQgroups(fileSystem.mountPoint, signal);
    await limitSubvolume(commandPath(scratch), await probeIdOf(scratch, signal), limitBytes, signal);
    if (!(await isStopped(scratch, signal))) return unlimited('a subvolume took more than its limit');
    const detail =
      mode === 'simple'
        ? 'simple quota holds what a subvolume itself writes; not what a copy shares, so that copies are refused'
        : 'quota holds the size of subvolumes';
    const caveat = ', until a pod makes subvolumes inside';
    return { usable: true, enforcesLimit: true, holdsAgainst: 'trusted', detail: detail + caveat };
  } catch (error) {
    return { ...unlimited(`no limit can be set: ${messageOf(error)}`), ...provisionalBy(error) };
  }
}

/** Writes twice the limit. Told by the words of the quota: a full pool stops it too, and proves nothing. */
async function isStopped(scratch: Directory, signal: AbortSignal): Promise<boolean> {
  const to = join(commandPath(scratch, probeName), 'fill');
  const args = ['if=/dev/zero', `of=${to}`, 'bs=1M', `count=${(limitBytes >> 20n) * 2n}`, 'conv=fsync'];
  try {
    await run('dd', args, { signal });
    return false;
  } catch (error) {
    if (error instanceof CommandError && /disk quota exceeded/i.test(error.stderr)) return true;
    throw error;
  }
}

async function removeProbe(scratch: Directory, signal: AbortSignal): Promise<void> {
  if (!(await isSubvolume(scratch, probeName))) return;
  const id = await probeIdOf(scratch, signal);
  await deleteSubvolume(scratch, probeName, signal);
  // a disk too busy to tell within this time removes it all the same
  await awaitDeletion(scratch, id, AbortSignal.any([signal, AbortSignal.timeout(10_000)])).catch(() => {});
  await removeQgroups(commandPath(scratch), [id], signal);
}

async function probeIdOf(scratch: Directory, signal: AbortSignal): Promise<bigint> {
  return whileOpen(scratch.openChild(probeName), (probe) => subvolumeIdOf(probe, signal));
}
