import { chmod, chown } from 'node:fs/promises';
import { clearDescriptors } from './clear-flags.ts';
import { descriptorPath, errorCode, mountIdOf } from './descriptor.ts';
import type { Directory } from './directory.ts';
import { fileSystemIdentity } from './file-system-identity.ts';
import { readMounts, type Mount } from './mountinfo.ts';

/** The root of what is mounted at an entry of a directory, held open: it cannot be unmounted meanwhile, except lazily. */
export interface MountedEntry {
  readonly root: Directory;
  readonly mount: Mount;
  /** of its file system; unset: it has none, or it cannot be read here */
  readonly uuid?: string;
}

/**
 * Opens what is mounted at `parent`/`name`, following no link. Undefined where that is an ordinary directory.
 *
 * @throws what opening throws: ENOENT, ENOTDIR, ELOOP
 */
export async function openMounted(parent: Directory, name: string): Promise<MountedEntry | undefined> {
  const root = await parent.openChild(name);
  try {
    const id = mountIdOf(root.fd);
    const isFolder = id === mountIdOf(parent.fd);
    const mount = isFolder ? undefined : (await readMounts()).find((each) => each.id === id);
    if (mount === undefined) {
      await root.close();
      return undefined;
    }
    const uuid = (await fileSystemIdentity(root))?.uuid;
    return { root, mount, ...(uuid === undefined ? {} : { uuid }) };
  } catch (error) {
    await root.close();
    throw error;
  }
}

/** Gives a directory back to root, whatever flags it has. */
export async function giveToRoot({ fd }: Directory, mode: number, signal: AbortSignal): Promise<void> {
  const reset = async (): Promise<void> => {
    await chown(descriptorPath(fd), 0, 0);
    await chmod(descriptorPath(fd), mode);
  };
  try {
    await reset();
  } catch (error) {
    if (errorCode(error) !== 'EPERM') throw error;
    await clearDescriptors([fd], signal);
    await reset();
  }
}
