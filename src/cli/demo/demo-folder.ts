import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Directory } from '../../host/directory.ts';
import { isAtOrBelow, readMounts } from '../../host/mountinfo.ts';
import { ensureUnmounted } from '../../host/mounts.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { openOrMake, resolveParent } from '../../host/path-facts.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { run } from '../../host/run.ts';
import { statFileSystem } from '../../host/statfs.ts';

const cleanUpTimeoutMs = 30_000;

/** A folder of the demo's own, with everything that it leaves on the disk; removed at the end. */
export class DemoFolder {
  readonly path: string;
  /** what people should know of it */
  remark = '';
  readonly #parent: Directory;
  readonly #name: string;

  private constructor(parent: Directory, name: string) {
    this.#parent = parent;
    this.#name = name;
    this.path = join(parent.realPath, name);
  }

  static async make(parentPath: string): Promise<DemoFolder> {
    const parent = await openOrMake(await resolveParent(parentPath), 0o700);
    const folder = new DemoFolder(parent, `loam-demo-${randomBytes(4).toString('hex')}`);
    await (await parent.ensureChild(folder.#name, 0o700)).close();
    for (const name of ['pool', 'kubelet', 'state', 'run'])
      await (await openOrMake(join(folder.path, name), 0o700)).close();
    await folder.#makeErasable(join(folder.path, 'pool'));
    return folder;
  }

  /** On a copy-on-write file system nothing can be overwritten in place, and the story is about scrubbing. */
  async #makeErasable(poolPath: string): Promise<void> {
    if (!(await statFileSystem(poolPath)).isCopyOnWrite) return;
    await run('mount', ['-t', 'tmpfs', 'tmpfs', poolPath], { signal: AbortSignal.timeout(cleanUpTimeoutMs) });
    this.remark = 'the pool is a tmpfs, since files of this file system cannot be overwritten in place';
  }

  /** Takes away what a failed story left mounted, and then the folder. */
  async remove(): Promise<void> {
    const signal = AbortSignal.timeout(cleanUpTimeoutMs);
    const mounts = await readMounts();
    const inside = mounts
      .map(({ mountPoint }) => mountPoint)
      .filter((mountPoint) => isAtOrBelow(mountPoint, this.path));
    for (const mountPoint of inside.toReversed()) await ensureUnmounted(mountPoint, signal);
    await removeTree(this.#parent, this.#name, { signal, pace: unlimitedPace });
    await this.#parent.close();
  }
}
