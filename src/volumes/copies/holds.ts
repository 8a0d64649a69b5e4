import { StorageError } from '../../model/errors.ts';
import { describeEntry } from '../../model/snapshot-id.ts';

/** Why a volume or snapshot is kept as it is. */
export interface Hold {
  /** for people: what it is copied to, and how far that is */
  readonly reading: () => string;
  /** whether nobody may begin to write meanwhile: nobody could when the copy began, and that is what it was promised to be */
  readonly keepsQuiet: boolean;
}

/**
 * Volumes and snapshots that are being read by a copy, by their ids. A held one is neither deleted nor grown. Locks are for
 * calls; a hold lasts as long as the copy does, and there may be several at once.
 */
export class Holds {
  readonly #byId = new Map<string, Set<Hold>>();

  /** Returns how to let go. The caller has the lock of what it holds, so that nothing is under way that the hold would forbid. */
  hold(id: string, hold: Hold): () => void {
    const holds = this.#byId.get(id) ?? new Set<Hold>();
    this.#byId.set(id, holds.add(hold));
    return () => {
      holds.delete(hold);
      if (holds.size === 0 && this.#byId.get(id) === holds) this.#byId.delete(id);
    };
  }

  /** @throws StorageError 'busy' saying what reads it and how far that is */
  requireFree(id: string): void {
    const [first] = this.#byId.get(id) ?? [];
    if (first !== undefined) throw held(id, first);
  }

  /** For whoever is about to let somebody write. @throws StorageError 'busy', as `requireFree` */
  requireWritable(id: string): void {
    for (const hold of this.#byId.get(id) ?? []) if (hold.keepsQuiet) throw held(id, hold);
  }
}

function held(id: string, hold: Hold): StorageError {
  return new StorageError(
    'busy',
    `${describeEntry(id)} is being copied (${hold.reading()}); repeat the call when that is over`,
  );
}
