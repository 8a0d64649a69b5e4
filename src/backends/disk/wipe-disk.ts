import { eraseDirectory } from '../../host/erase-tree.ts';
import { entryFacts } from '../../host/entry-facts.ts';
import { syncFileSystem } from '../../host/file-system-sync.ts';
import { giveToRoot, type MountedEntry } from '../../host/mounted-disk.ts';
import { emptyDirectory } from '../../host/remove-tree.ts';
import { whileOpen } from '../../host/while-open.ts';
import { StorageError } from '../../model/errors.ts';
import type { DestroyWish } from '../backend.ts';

/** The file system's own, where it has one: it stays, and what fsck, or anybody, has put there goes. */
const lostAndFound = 'lost+found';

/**
 * Destroys everything on a disk and leaves it as empty as a fresh one. On the disk when it resolves: else a power cut could bring files back
 * that nobody knows of any more. No link is followed and nothing that is mounted inside is entered; killed anywhere, a repeat goes on.
 *
 * @throws StorageError 'cannot-erase' | 'in-use' | 'host-failure'; the signal's reason
 */
export async function wipeDisk({ root, mount }: MountedEntry, wish: DestroyWish): Promise<void> {
  const { scrub, pace, log, signal } = wish;
  try {
    if (scrub !== undefined) await eraseDirectory(root, { method: scrub, pace, log, signal });
    const options = { pace, signal };
    const isOwn = mount.fsType !== 'xfs' && (await entryFacts(root, lostAndFound))?.kind === 'directory';
    await emptyDirectory(root, { ...options, ...(isOwn ? { keep: [lostAndFound] } : {}) });
    if (isOwn) {
      await whileOpen(root.openChild(lostAndFound), async (folder) => {
        await emptyDirectory(folder, options);
        await giveToRoot(folder, 0o700, signal);
      });
    }
    await giveToRoot(root, 0o755, signal);
    await syncFileSystem(root, signal);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new StorageError(error.reason, `on the disk at ${root.realPath}: ${error.message}`, {
      cause: error,
    });
  }
}

/** Whether there is nothing on it that anybody wrote. */
export async function isBlank({ root }: MountedEntry): Promise<boolean> {
  return (await root.names()).every((name) => name === lostAndFound);
}
