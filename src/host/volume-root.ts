import { chmod, chown, rename, stat } from 'node:fs/promises';
import { StorageError } from '../model/errors.ts';
import { descriptorPath } from './descriptor.ts';
import { Directory } from './directory.ts';
import { isErrno } from './mounts.ts';

/** Permissions of the directory that a volume's users see as its root. */
export interface RootOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes a directory with exactly these permissions. It gets its name last, so that one of that name is finished and is
 * never changed again: what its users made of it stays. Durable once its parent is synced, which whoever commits the
 * volume's record in there does anyway.
 *
 * @param prepare what else is done to it before it gets its name
 * @throws StorageError 'host-failure' where the owner cannot be set, as in a user namespace
 */
export async function createRootDirectory(
  parentPath: string,
  name: string,
  owner: RootOwner,
  prepare: (path: string) => Promise<void> = async () => {},
): Promise<void> {
  const parent = await Directory.open(parentPath);
  try {
    if (await parent.exists(name)) return;
    const temporaryName = `${name}.new`;
    const child = await parent.ensureChild(temporaryName, 0o700);
    try {
      await prepare(child.realPath);
      await setRootOwner(descriptorPath(child.fd), child.realPath, owner);
    } finally {
      await child.close();
    }
    await rename(parent.entry(temporaryName), parent.entry(name));
  } finally {
    await parent.close();
  }
}

/** Gives a new directory to its owner, with its mode. @throws StorageError 'host-failure' where that cannot be */
export async function setRootOwner(path: string, realPath: string, owner: RootOwner): Promise<void> {
  const present = await stat(path);
  if (present.uid !== owner.uid || present.gid !== owner.gid) {
    try {
      await chown(path, owner.uid, owner.gid);
    } catch (error) {
      if (!isErrno(error, 'EINVAL', 'EPERM')) throw error;
      throw new StorageError(
        'host-failure',
        `${realPath} cannot be given to ${owner.uid}:${owner.gid} here; remove uid and gid from the class`,
        { cause: error },
      );
    }
  }
  // after chown, which takes setuid and setgid away
  await chmod(path, owner.mode);
}
