import { lstat } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import { descriptorPathForCommands, errorCode } from './descriptor.ts';
import { checkedComponent, type Directory } from './directory.ts';
import { run } from './run.ts';
import { statFileSystem } from './statfs.ts';

/** Of every subvolume's root, and of nothing else on a btrfs. */
const rootInode = 256n;

/** The path of an entry for `btrfs`, through our descriptor: no link on the way can lead it elsewhere. */
export function commandPath(parent: Directory, name?: string): string {
  const path = descriptorPathForCommands(parent.fd);
  return name === undefined ? path : `${path}/${checkedComponent(name)}`;
}

/** Whether an entry is the root of a subvolume; not following a link. */
export async function isSubvolume(parent: Directory, name: string): Promise<boolean> {
  try {
    const found = await lstat(parent.entry(name), { bigint: true });
    if (!found.isDirectory() || found.ino !== rootInode) return false;
    return (await statFileSystem(parent.entry(name))).type === 'btrfs';
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Durable when it returns: btrfs commits for it. */
export async function makeSubvolume(parent: Directory, name: string, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['subvolume', 'create', commandPath(parent, name)], { signal });
}

/** A copy of one subvolume as of one moment, with what was written and not yet on disk; nested ones are empty directories in it. */
export async function snapshotSubvolume(
  source: Directory,
  target: { readonly parent: Directory; readonly name: string; readonly readonly: boolean },
  signal: AbortSignal,
): Promise<void> {
  const to = commandPath(target.parent, target.name);
  const flags = target.readonly ? ['-r'] : [];
  await run('btrfs', ['subvolume', 'snapshot', ...flags, commandPath(source), to], { signal });
}

/** @throws CommandError, also where another subvolume lies inside it */
export async function deleteSubvolume(parent: Directory, name: string, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['subvolume', 'delete', commandPath(parent, name)], { signal });
}

/** @param within any directory of the same file system */
export async function deleteSubvolumeById(within: Directory, id: bigint, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['subvolume', 'delete', '-i', id.toString(), commandPath(within)], { signal });
}

/** Commits and waits until a deleted subvolume's last block is free. */
export async function awaitDeletion(within: Directory, id: bigint, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['filesystem', 'sync', commandPath(within)], { signal });
  await run('btrfs', ['subvolume', 'sync', commandPath(within), id.toString()], { signal });
}

export async function setSubvolumeReadonly(
  subvolume: Directory,
  readonly: boolean,
  signal: AbortSignal,
): Promise<void> {
  // forced, since one that was received is refused otherwise
  await run('btrfs', ['property', 'set', '-f', commandPath(subvolume), 'ro', String(readonly)], { signal });
}

/** The id of the subvolume that a directory belongs to, which it has as long as it lives. */
export async function subvolumeIdOf(directory: Directory, signal: AbortSignal): Promise<bigint> {
  const { stdout } = await run('btrfs', ['inspect-internal', 'rootid', commandPath(directory)], { signal });
  if (/^\d+$/.test(stdout)) return BigInt(stdout);
  throw new StorageError('host-failure', `btrfs tells no subvolume id of ${directory.realPath}: ${stdout}`);
}

/** Where on its file system the subvolume of an id is, from the top; undefined where there is none. */
export async function subvolumePathOf(
  within: Directory,
  id: bigint,
  signal: AbortSignal,
): Promise<string | undefined> {
  const args = ['inspect-internal', 'subvolid-resolve', id.toString(), commandPath(within)];
  try {
    return (await run('btrfs', args, { signal })).stdout;
  } catch (error) {
    signal.throwIfAborted();
    // what cannot be read is there all the same, and must not be passed over
    if (error instanceof StorageError && /error -2\b|no such file|not found/i.test(error.message))
      return undefined;
    throw error;
  }
}
