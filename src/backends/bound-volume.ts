import { ensureUnmounted } from '../host/mounts.ts';
import type { CallContext } from '../model/csi-driver.ts';
import type { VolumeSpec } from '../model/volume.ts';
import type { VolumePlace } from './backend.ts';
import type { publishDirectory } from './publish-directory.ts';

/**
 * What is the same of every volume that is there without being attached, and appears where it is used by bind mounts alone: the kernel
 * has them all, so that nothing is remembered, nothing taken up front, and nothing outlives the last of them.
 */
export abstract class BoundVolume {
  protected readonly poolPaths: readonly string[];

  /** @param options.poolPaths no target may lie in one of these */
  constructor(options: { readonly poolPaths?: readonly string[] } = {}) {
    this.poolPaths = options.poolPaths ?? [];
  }

  initialBytes(): bigint {
    return 0n;
  }

  async unstage(
    _place: VolumePlace,
    _spec: VolumeSpec,
    stagingPath: string,
    call: CallContext,
  ): Promise<void> {
    await ensureUnmounted(stagingPath, call.signal);
  }

  async release(): Promise<void> {
    // held by mounts only
  }

  /** How such a volume is bound somewhere: with the mount flags of any file system, and never into a pool. */
  protected bindOptions({ signal }: CallContext): Parameters<typeof publishDirectory>[2] {
    return { fsType: undefined, outside: this.poolPaths, signal };
  }
}
