import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StorageError } from '../model/errors.ts';
import { checkMountFlags } from './mount-flags.ts';
import type { FsType } from '../model/volume.ts';
import { locate, mountAt, mountCovering, readMounts, type Mount } from './mountinfo.ts';
import { CommandError, run } from './run.ts';

export interface BindMount {
  readonly source: string;
  /** exists already, of the source's kind */
  readonly target: string;
  readonly readonly: boolean;
  /** per-mount options, checked; `nodev` is for the caller to name, since a device node must go without it */
  readonly flags: readonly string[];
  readonly signal: AbortSignal;
}

/** Flags that a mount shows in mountinfo whenever they are on. */
const visibleFlags = new Set(['nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'nosymfollow']);
/** Flags of a source that a user namespace does not let go of: a remount without them is refused. */
const lockedFlags = new Set([...visibleFlags, 'relatime', 'ro']);

/**
 * Lets `source` appear at `target`. A mount that is there already is compared: device, root, read-only, flags.
 *
 * The read-only flag needs a remount after the bind (mount(8) does both); if the second fails, the first is undone.
 * @throws StorageError 'published-differently' when something else, or the same with other options, is mounted there
 */
export async function ensureBindMount(options: BindMount): Promise<void> {
  const source = await realpath(options.source);
  const target = await canonicalTarget(options.target);
  const mounts = await readMounts();
  const wanted = locate(mounts, source);
  const sourceMount = mountCovering(mounts, source);
  if (wanted === undefined || sourceMount === undefined) {
    throw new StorageError(
      'host-failure',
      `${source} lies on no mount that this process can see; mount it, in a container with mountPropagation: HostToContainer`,
    );
  }
  const flags = inherited(sourceMount, options);
  const present = mountAt(mounts, target);
  if (present !== undefined) {
    if (present.device !== wanted.device || present.root !== wanted.root)
      throw other(target, present, source);
    verifyFlags(target, present, flags);
    return;
  }
  try {
    await run('mount', ['--bind', '-o', flags.join(','), '--', source, target], { signal: options.signal });
    // the device number is compared again since mount(8) resolves the source anew
    const made = mountAt(await readMounts(), target);
    if (made?.device !== wanted.device || made.root !== wanted.root) throw other(target, made, source);
    verifyFlags(target, made, flags);
  } catch (error) {
    await undo(target, wanted);
    throw error;
  }
}

function inherited(source: Mount, options: BindMount): string[] {
  const kept = source.options.filter((option) => lockedFlags.has(option));
  const isReadonly = options.readonly || kept.includes('ro');
  const own = options.flags.filter((flag) => !contradicts(flag, kept));
  return [...new Set([isReadonly ? 'ro' : 'rw', ...kept.filter((flag) => flag !== 'ro'), ...own])];
}

/** `exec` after an inherited `noexec` would ask for more than the source gives. */
function contradicts(flag: string, kept: readonly string[]): boolean {
  return kept.includes(`no${flag}`);
}

/** Takes away what a failed bind left behind, so that a final error never leaves a mount. */
async function undo(
  target: string,
  wanted: { readonly device: string; readonly root: string },
): Promise<void> {
  const left = mountAt(await readMounts(), target);
  if (left?.device !== wanted.device || left.root !== wanted.root) return;
  await run('umount', ['--', target], { signal: AbortSignal.timeout(10_000) });
}

export interface DeviceMount {
  readonly source: string;
  readonly target: string;
  readonly fsType: FsType;
  /** as asked, unchecked */
  readonly flags: readonly string[];
  readonly readonly: boolean;
  readonly signal: AbortSignal;
}

/**
 * Mounts a block device's file system at `target`, nodev. A mount that is there already is compared.
 *
 * @throws StorageError 'published-differently' when something else, or the same with other options, is mounted there;
 *   'invalid-argument' for an option that is not allowed
 */
export async function ensureMounted(options: DeviceMount): Promise<void> {
  const target = await canonicalTarget(options.target);
  const asked = checkMountFlags(options.flags, options.fsType);
  const perMount = [options.readonly || asked.readonly ? 'ro' : 'rw', 'nodev', ...asked.perMount];
  const present = mountAt(await readMounts(), target);
  if (present !== undefined) {
    await verifyDevice(target, present, options);
    verifyFlags(target, present, perMount);
    return;
  }
  const flags = [...perMount, ...defaultsOf(options.fsType), ...asked.ofFileSystem];
  await run('mount', ['-t', options.fsType, '-o', flags.join(','), '--', options.source, target], options);
}

/** Damage shows as a read-only volume instead of spreading. */
function defaultsOf(fsType: FsType): string[] {
  return fsType === 'ext4' ? ['errors=remount-ro'] : [];
}

async function verifyDevice(target: string, present: Mount, options: DeviceMount): Promise<void> {
  const { rdev } = await stat(options.source, { bigint: true });
  const isSame = isMountOf(present, { path: options.source, device: deviceNumber(rdev) });
  if (!isSame || present.fsType !== options.fsType || present.root !== '/')
    throw other(target, present, options.source);
}

/** Whether this mount is of this block device; btrfs shows a device number of its own, so there the name counts. */
export function isMountOf(mount: Mount, device: { readonly path: string; readonly device: string }): boolean {
  return mount.fsType === 'btrfs' ? mount.source === device.path : mount.device === device.device;
}

/** `major:minor` of a device number, as mountinfo and sysfs write it. */
export function deviceNumber(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function verifyFlags(target: string, present: Mount, wanted: readonly string[]): void {
  const isReadonly = present.options.includes('ro');
  if (isReadonly !== wanted.includes('ro')) {
    const now = isReadonly ? 'read-only' : 'writable';
    throw new StorageError('published-differently', `${target} is mounted ${now} already; unmount it first`);
  }
  const missing = wanted.filter((flag) => visibleFlags.has(flag) && !present.options.includes(flag));
  if (missing.length > 0) {
    throw new StorageError(
      'published-differently',
      `${target} is mounted already, without ${missing.join(', ')}; unmount it first`,
    );
  }
}

function other(target: string, present: Mount | undefined, source: string): StorageError {
  const what = present === undefined ? 'nothing' : `${present.source} (${present.fsType}, ${present.root})`;
  return new StorageError(
    'published-differently',
    `${target} has ${what} mounted, not ${source}; unmount it first`,
  );
}

/**
 * Takes away every mount stacked at this path. Nothing there is success, also when the path is gone.
 *
 * @throws StorageError 'in-use' while somebody has files open there; it stays mounted then
 */
export async function ensureUnmounted(path: string, signal: AbortSignal): Promise<void> {
  const target = await canonicalTarget(path).catch(absentAsUndefined);
  if (target === undefined) return;
  for (;;) {
    const present = mountAt(await readMounts(), target);
    if (present === undefined) return;
    try {
      await run('umount', ['--', target], { signal });
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (/target is busy/.test(error.stderr)) throw busy(target, error);
      // somebody else may have been quicker: only a mount that is still the same one is a failure
      if (mountAt(await readMounts(), target)?.id === present.id) throw error;
    }
  }
}

function busy(target: string, cause: CommandError): StorageError {
  return new StorageError(
    'in-use',
    `${target} is busy: a process has files open there; stop it and try again`,
    { cause },
  );
}

/** The path as mountinfo writes it: links in the parents followed, the last component as it is. */
export async function canonicalTarget(path: string): Promise<string> {
  return join(await realpath(dirname(path)), basename(path));
}

export function absentAsUndefined(error: unknown): undefined {
  if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
  throw error;
}

export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
