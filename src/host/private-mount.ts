import type { FsType } from '../model/volume.ts';
import { run } from './run.ts';

export interface PrivateMount {
  readonly device: string;
  readonly fsType: FsType;
  /** besides `nodev` */
  readonly options?: readonly string[];
  /** any directory: it is covered in that namespace only */
  readonly place: string;
  /** run by sh in the root of the mounted file system; `$1` and on are `args` */
  readonly script: string;
  readonly args: readonly string[];
  readonly signal: AbortSignal;
}

// the last step leaves the directory, since a busy file system would not be unmounted
const frame = `device=$1 type=$2 options=$3 place=$4 script=$5
shift 5
mount -t "$type" -o "$options" -- "$device" "$place" && (cd "$place" && eval "$script") && umount "$place"`;

/**
 * Mounts a device for as long as a small script runs, in a mount namespace of its own: nobody else sees it, and
 * the mount goes with the process, whatever ends it.
 *
 * @throws CommandError when mounting or the script fails
 */
export async function runInPrivateMount(options: PrivateMount): Promise<void> {
  const { device, fsType, place, script, args, signal } = options;
  const mountOptions = ['nodev', ...(options.options ?? [])].join(',');
  const namespace = ['--mount', '--propagation', 'private', '--'];
  const ours = [device, fsType, mountOptions, place, script];
  await run('unshare', [...namespace, 'sh', '-c', frame, 'sh', ...ours, ...args], { signal });
}
