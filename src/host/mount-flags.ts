import { StorageError } from '../model/errors.ts';
import type { FsType } from '../model/volume.ts';

/** Mount options of a class or a PV, checked and sorted by where they belong. */
export interface MountFlags {
  /** of one mount: also valid for a bind mount */
  readonly perMount: readonly string[];
  /** of the file system: only where it is mounted from its device */
  readonly ofFileSystem: readonly string[];
  readonly readonly: boolean;
}

const ofOneMount =
  /^(?:nosuid|noexec|nodev|noatime|nodiratime|relatime|strictatime|nosymfollow|suid|exec|atime|diratime)$/;
const anyFileSystem = /^(?:sync|async|dirsync|lazytime|nolazytime|discard|nodiscard)$/;
const ofFsType: Record<FsType, RegExp> = {
  ext4: /^(?:data=(?:ordered|journal|writeback)|commit=\d{1,5}|errors=(?:remount-ro|continue)|(?:no)?(?:delalloc|auto_da_alloc|acl|user_xattr|init_itable|dioread_lock)|dioread_nolock)$/,
  xfs: /^(?:nouuid|inode(?:32|64)|(?:no)?largeio|allocsize=\d{1,10}[kmg]?|logbufs=\d|logbsize=\d{1,6}k?|swalloc|wsync|noalign)$/,
  btrfs:
    /^(?:compress(?:-force)?(?:=(?:no|lzo|(?:zlib|zstd)(?::\d{1,2})?))?|(?:no)?(?:autodefrag|datacow|datasum|flushoncommit|ssd)|ssd_spread|discard=(?:async|sync)|space_cache(?:=v[12])?|commit=\d{1,5}|max_inline=\d{1,7}|thread_pool=\d{1,3})$/,
};

/**
 * Checks mount options against what can do no harm on a shared node.
 *
 * Everything else is refused, by name: options that turn the mount into another one (bind, remount, loop, move),
 * that name other devices or files (`journal_path=`, `subvol=`, `logdev=`), `dev`, userspace options (`x-…`),
 * `errors=panic`, and anything with a comma, which would smuggle in a second option.
 * @param fsType unset: a directory, which is only ever bind-mounted
 * @throws StorageError 'invalid-argument'
 */
export function checkMountFlags(flags: readonly string[], fsType: FsType | undefined): MountFlags {
  const perMount: string[] = [];
  const ofFileSystem: string[] = [];
  let readonly = false;
  for (const flag of flags) {
    if (flag === 'ro') readonly = true;
    else if (flag === 'rw' || flag === 'defaults') continue;
    else if (ofOneMount.test(flag)) perMount.push(flag);
    else if (fsType !== undefined && (anyFileSystem.test(flag) || ofFsType[fsType].test(flag)))
      ofFileSystem.push(flag);
    else throw refusal(flag, fsType);
  }
  return { perMount, ofFileSystem, readonly };
}

function refusal(flag: string, fsType: FsType | undefined): StorageError {
  const where = fsType === undefined ? 'a directory volume' : `a volume with ${fsType}`;
  return new StorageError(
    'invalid-argument',
    `mount option ${JSON.stringify(flag)} is not allowed for ${where}; remove it from the mountOptions of the class or the PV`,
  );
}
