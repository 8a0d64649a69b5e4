import { join } from 'node:path';
import { readIfThere, type BtrfsFileSystem } from './btrfs-file-systems.ts';
import { CommandError, run } from './run.ts';

/** How a btrfs counts. `full`: by what each subvolume refers to; `simple`: by who wrote it first; `off`: not at all. */
export interface QuotaState {
  readonly mode: 'off' | 'full' | 'simple';
  /** its numbers are not to be believed until a scan is through */
  readonly isInconsistent: boolean;
}

/** What the kernel knows of one subvolume's quota group. */
export interface Qgroup {
  /** all that the subvolume refers to, shared or not, with what was promised to writes that are not on disk yet */
  readonly usedBytes: bigint;
  /** unset: none */
  readonly limitBytes: bigint | undefined;
}

const referencedLimitFlag = 1n;

/** From sysfs, so that it costs no process and no commit. */
export function quotaState({ sysPath }: BtrfsFileSystem): QuotaState {
  const folder = join(sysPath, 'qgroups');
  if (readIfThere(join(folder, 'enabled')) !== '1') return { mode: 'off', isInconsistent: false };
  return {
    mode: readIfThere(join(folder, 'mode')) === 'squota' ? 'simple' : 'full',
    isInconsistent: readIfThere(join(folder, 'inconsistent')) === '1',
  };
}

/** As the kernel compares it with the limit at each write: right at once, while what `btrfs qgroup show` prints waits for a commit. */
export function qgroupOf(fileSystem: BtrfsFileSystem, subvolumeId: bigint): Qgroup | undefined {
  const read = (name: string): bigint | undefined => readNumber(fileSystem, subvolumeId, name);
  const referenced = read('referenced');
  if (referenced === undefined) return undefined;
  const isLimited = ((read('limit_flags') ?? 0n) & referencedLimitFlag) !== 0n;
  return {
    usedBytes: referenced + (read('rsv_data') ?? 0n),
    limitBytes: isLimited ? read('max_referenced') : undefined,
  };
}

/** What no other subvolume refers to, with what was promised to writes that are not on disk yet; as of the last commit. */
export function ownBytesOf(fileSystem: BtrfsFileSystem, subvolumeId: bigint): bigint | undefined {
  const exclusive = readNumber(fileSystem, subvolumeId, 'exclusive');
  if (exclusive === undefined) return undefined;
  return exclusive + (readNumber(fileSystem, subvolumeId, 'rsv_data') ?? 0n);
}

function readNumber({ sysPath }: BtrfsFileSystem, subvolumeId: bigint, name: string): bigint | undefined {
  const text = readIfThere(join(sysPath, 'qgroups', `0_${subvolumeId}`, name));
  return text === undefined ? undefined : BigInt(text);
}

/** Turns full counting on for a whole file system, and waits for the first scan. It is a no-op where it is on. */
export async function enableQuota(path: string, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['quota', 'enable', path], { signal });
  // fails where a scan runs already or is not needed
  await run('btrfs', ['quota', 'rescan', '-w', path], { signal, timeoutMs: 60_000 }).catch(() => {});
}

/** @returns false where one is running already */
export async function startRescan(path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await run('btrfs', ['quota', 'rescan', path], { signal });
    return true;
  } catch (error) {
    if (error instanceof CommandError && /in progress/i.test(error.stderr)) return false;
    throw error;
  }
}

/**
 * Limits what a subvolume refers to. `undefined`: no limit.
 * @param path outside of it: the kernel refuses by the limit even what is to change the limit
 */
export async function limitSubvolume(
  path: string,
  id: bigint,
  limitBytes: bigint | undefined,
  signal: AbortSignal,
): Promise<void> {
  await run('btrfs', ['qgroup', 'limit', limitBytes?.toString() ?? 'none', `0/${id}`, path], { signal });
}

/**
 * Removes the quota groups of subvolumes that are gone. A newer kernel refuses until the subvolume's last block is freed, and
 * then removes the group by itself; an older one would keep it for ever.
 */
export async function removeQgroups(
  path: string,
  ids: readonly bigint[],
  signal: AbortSignal,
): Promise<void> {
  for (const id of ids) {
    signal.throwIfAborted();
    await run('btrfs', ['qgroup', 'destroy', `0/${id}`, path], { signal }).catch((error: unknown) => {
      if (!(error instanceof CommandError)) throw error;
    });
  }
}

/** Removes those that an earlier process, killed between a subvolume and its group, has left. */
export async function removeStaleQgroups(path: string, signal: AbortSignal): Promise<void> {
  await run('btrfs', ['qgroup', 'clear-stale', path], { signal }).catch((error: unknown) => {
    if (!(error instanceof CommandError)) throw error;
  });
}
