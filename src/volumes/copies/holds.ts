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
  /** id → by how many it is closed */
  readonly #closed = new Map<string, number>();

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

  /**
   * Nobody new may write until the returned function is called; whoever does already is not disturbed. No lock is needed: who was let
   * in before this is seen by whatever is read after it.
   */
  close(id: string): () => void {
    this.#closed.set(id, (this.#closed.get(id) ?? 0) + 1);
    return () => {
      const others = (this.#closed.get(id) ?? 1) - 1;
      if (others === 0) this.#closed.delete(id);
      else this.#closed.set(id, others);
    };
  }

  /** For whoever is about to let somebody write. @throws StorageError 'busy', as `requireFree` */
  requireWritable(id: string): void {
    if (this.#closed.has(id)) {
      const text = `volume ${id} is about to be deleted or emptied, because its claim is gone`;
      throw new StorageError('busy', `${text}; repeat the call when that is over`);
    }
    for (const hold of this.#byId.get(id) ?? []) if (hold.keepsQuiet) throw held(id, hold);
  }
}

function held(id: string, hold: Hold): StorageError {
  return new StorageError(
    'busy',
    `${describeEntry(id)} is being copied (${hold.reading()}); repeat the call when that is over`,
  );
}
