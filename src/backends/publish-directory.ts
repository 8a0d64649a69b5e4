import { checkMountFlags } from '../host/mount-flags.ts';
import { ensureBindMount } from '../host/mounts.ts';
import { ensureTargetDirectory, removeTarget } from '../host/targets.ts';
import type { FsType } from '../model/volume.ts';
import type { MountIntent } from './backend.ts';

/** Lets a directory appear at a path, nodev, with those of the mount flags that belong to a single mount. */
export async function bindDirectory(
  source: string,
  intent: MountIntent,
  options: {
    readonly fsType: FsType | undefined;
    readonly outside: readonly string[];
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const asked = checkMountFlags(intent.mountFlags, options.fsType);
  const target = await ensureTargetDirectory(intent.path, options);
  await ensureBindMount({
    source,
    target,
    readonly: intent.readonly || asked.readonly,
    flags: ['nodev', ...asked.perMount],
    signal: options.signal,
  });
}

/** The same for a pod's target, which nobody else cleans up: a failure takes the empty directory away again. */
export async function publishDirectory(...args: Parameters<typeof bindDirectory>): Promise<void> {
  try {
    await bindDirectory(...args);
  } catch (error) {
    // refused where it is mounted or has something in it, and then it is not ours
    await removeTarget(args[1].path).catch(() => {});
    throw error;
  }
}
