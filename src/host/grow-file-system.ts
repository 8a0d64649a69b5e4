import { StorageError } from '../model/errors.ts';
import type { FsType } from '../model/volume.ts';
import { CommandError, run } from './run.ts';

/** A check reads every inode: of a large volume it takes minutes, and cut short it would begin anew each time. */
const checkTimeoutMs = 3_600_000;

/**
 * Has a mounted file system take its whole device. Nothing happens to one that does already.
 *
 * @returns why the kernel does not let it grow while it is mounted; undefined: it has grown
 * @throws CommandError for any other failure
 */
export async function growMountedFileSystem(
  mounted: { readonly mountPath: string; readonly devicePath: string; readonly fsType: FsType },
  signal: AbortSignal,
): Promise<string | undefined> {
  const { mountPath, devicePath, fsType } = mounted;
  const commands: Record<FsType, readonly [string, readonly string[]]> = {
    ext4: ['resize2fs', [devicePath]],
    xfs: ['xfs_growfs', ['-d', mountPath]],
    btrfs: ['btrfs', ['filesystem', 'resize', 'max', mountPath]],
  };
  const [command, args] = commands[fsType];
  try {
    await run(command, args, { signal, timeoutMs: 300_000 });
    return undefined;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (/read-only file system/i.test(error.stderr)) return 'it is mounted read-only';
    if (!/permission denied|not permitted/i.test(error.stderr)) throw error;
    return fsType === 'ext4'
      ? 'the kernel lets ext4 grow while mounted only with the capability CAP_SYS_RESOURCE, which this process lacks'
      : `the kernel refused: ${error.message}`;
  }
}

/**
 * Checks an ext4 that nobody has mounted and has it take its whole device. Not given up half-way, since both would begin anew.
 * Crash-safe: cut short, the file system says that it wants a check, and a repeat does both again.
 *
 * @returns false where somebody has the device in use, so that nothing was done
 * @throws StorageError 'data-loss' where the check finds what it must not repair by itself
 */
export async function growUnmountedExt4(devicePath: string): Promise<boolean> {
  const options = { signal: new AbortController().signal, timeoutMs: checkTimeoutMs };
  try {
    await run('e2fsck', ['-f', '-p', '--', devicePath], options);
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === undefined) throw error;
    if (/is mounted|in use/i.test(error.stderr)) return false;
    // the device went under our hands, which says nothing about the file system
    if (/(?:invalid argument|no such (?:file|device)).* while trying to open/i.test(error.stderr))
      throw error;
    // 1: repaired
    if (error.exitCode !== 1) {
      throw new StorageError(
        'data-loss',
        `the ext4 on ${devicePath} is damaged and cannot be grown: ${error.message}; run e2fsck on a copy of its image`,
        { cause: error },
      );
    }
  }
  await run('resize2fs', ['--', devicePath], options);
  return true;
}
