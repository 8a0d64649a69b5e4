import { dataName, diskMarkName, imageName } from '../../backends/backend.ts';
import type { Directory } from '../../host/directory.ts';
import { removeFile, removeIfEmpty } from '../../host/entries.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import { adoptingName } from './own-folders.ts';

/** Names of a volume's data in its directory. */
const dataNames: readonly string[] = [dataName, imageName, diskMarkName];

/**
 * Brings what a crash left of an adoption to its end: a directory that has its data already becomes the volume, which is one rename;
 * one that has none goes, and the data is where it was. Nothing that anybody wrote is ever removed here. Repeatable.
 *
 * @returns whether there is a volume of this id now
 */
export async function settleAdoption(adopting: Directory, id: string, volumes: Directory): Promise<boolean> {
  if (!(await adopting.exists(id))) return volumes.exists(id);
  const directory = await adopting.openChild(id);
  try {
    const names = await directory.names();
    if (names.some((name) => dataNames.includes(name))) {
      await adopting.rename(id, volumes, id);
      return true;
    }
    for (const name of names) await removeFile(directory, name);
  } finally {
    await directory.close();
  }
  await removeIfEmpty(adopting, id);
  await adopting.sync();
  return false;
}

/** The same for all of a pool, before its records are read. What cannot be settled is kept, and told. */
export async function settleAdoptions(root: Directory, volumes: Directory, log: Log): Promise<void> {
  if (!(await root.exists(adoptingName))) return;
  const adopting = await root.openChild(adoptingName);
  try {
    for (const id of await adopting.names()) {
      try {
        const isVolume = await settleAdoption(adopting, id, volumes);
        log.info({ volumeId: id, isVolume }, 'adoption that an earlier process began is settled');
      } catch (error) {
        const path = adopting.pathOf(id);
        log.error(
          { path, error: messageOf(error) },
          'adoption that was begun cannot be settled; its data is kept',
        );
      }
    }
  } finally {
    await adopting.close();
  }
  await removeIfEmpty(root, adoptingName);
}
