import type { Directory } from '../../host/directory.ts';
import { removeTemporaries } from '../../host/durable-file.ts';

/** Removes the files that writes left which a crash cut short, from these directories of a folder. */
export async function removeUnfinished(folder: Directory, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const directory = await folder.openChild(name);
    try {
      await removeTemporaries(directory);
    } finally {
      await directory.close();
    }
  }
}
