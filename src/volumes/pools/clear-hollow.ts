import { dataName } from '../../backends/backend.ts';
import type { Directory } from '../../host/directory.ts';
import { removeTemporaries, temporaryPrefix } from '../../host/durable-file.ts';
import { removeFile, removeIfEmpty } from '../../host/entries.ts';

/** A directory's root before it gets its name, and after. */
const rootNames = [`${dataName}.new`, dataName];

/** Whether an entry beside a record may be there before the record commits, and hold nothing that anybody wrote. */
export function isMadeBeforeCommit(name: string, recordName: string): boolean {
  return name === recordName || name.startsWith(temporaryPrefix) || rootNames.includes(name);
}

/**
 * Removes the folder of a volume or snapshot whose intent a power cut took (no record, or an empty file of it) if nothing is in it. Only
 * rmdir is used on what could be data: a volume that lost its record by other means stays.
 *
 * @returns whether it is gone
 */
export async function clearHollow(folder: Directory, name: string, recordName: string): Promise<boolean> {
  const directory = await folder.openChild(name);
  try {
    for (const root of rootNames) if (!(await removeIfEmpty(directory, root))) return false;
    await removeTemporaries(directory);
    if ((await directory.names()).some((other) => other !== recordName)) return false;
    await removeFile(directory, recordName);
  } finally {
    await directory.close();
  }
  return removeIfEmpty(folder, name);
}
