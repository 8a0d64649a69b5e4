import type { HeldSpace } from '../../host/reserve-file.ts';
import type { FileSystemStatus } from '../../host/statfs.ts';
import { isReason, messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';

/** Of the pool's root. */
export const reserveName = 'reserve';
const mostBytes = 16n << 20n;
/** Given back piece by piece, each with a try right after it: who filled the disk goes on writing, and would take it all. */
const pieces = 16n;

export interface ReserveParts {
  readonly held: HeldSpace;
  readonly statFileSystem: () => Promise<FileSystemStatus>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** How much of a file system of this size is kept back. */
export function reserveFor(totalBytes: bigint): bigint {
  const share = totalBytes / 100n;
  return ((share < mostBytes ? share : mostBytes) / 65536n) * 65536n;
}

/**
 * Holds some of a pool's disk for the day when nothing else is left: to delete takes a little room first (a name in the trash, a
 * record), and is the only way to get more.
 */
export class Reserve {
  readonly #parts: ReserveParts;
  #heldBytes = 0n;
  /** unless a growth failed in its middle, which may hold more than it says */
  #isTidy = true;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: ReserveParts) {
    this.#parts = parts;
  }

  /** What it has, of what the disk says that it has. */
  get heldBytes(): bigint {
    return this.#heldBytes;
  }

  /** Finds what there is. Never rejects: a pool can be opened without. */
  async load(): Promise<void> {
    try {
      this.#heldBytes = await this.#parts.held.heldBytes();
    } catch (error) {
      this.#parts.log.warn({ error: messageOf(error) }, 'reserve of the pool cannot be read');
    }
  }

  /** Makes it as large as it should be, where there is room to spare. Never rejects: without it most things go well too. */
  fill(): Promise<void> {
    return this.#alone(async () => {
      const { availableBytes } = await this.#parts.statFileSystem();
      const missingBytes = (await this.#wantedBytes()) - this.#heldBytes;
      const isToGrow = missingBytes > 0n ? availableBytes >= 4n * missingBytes : !this.#isTidy;
      if (isToGrow) await this.#grow();
    }).catch((error: unknown) => {
      if (!this.#parts.signal.aborted)
        this.#parts.log.warn({ error: messageOf(error) }, 'reserve of the pool not made');
    });
  }

  /**
   * Does something that a full disk must not keep from being done: where there is no room for it, the reserve is given up for it, and
   * taken back in the background, as far as nobody was faster.
   * @param act can be repeated
   */
  async around<T>(act: () => Promise<T>): Promise<T> {
    for (let hasGivenUp = false; ;) {
      try {
        const result = await act();
        if (hasGivenUp) void this.#alone(() => this.#grow()).catch(() => {});
        return result;
      } catch (error) {
        if (!isFull(error) || !(await this.#giveUpSome())) throw error;
        hasGivenUp = true;
      }
    }
  }

  /** What it could get is its own, also where that is not all. */
  async #grow(): Promise<void> {
    const { held, signal } = this.#parts;
    this.#isTidy = false;
    try {
      await held.growTo(await this.#wantedBytes(), signal);
      this.#isTidy = true;
    } finally {
      this.#heldBytes = await held.heldBytes();
    }
  }

  async #wantedBytes(): Promise<bigint> {
    return reserveFor((await this.#parts.statFileSystem()).totalBytes);
  }

  /** Resolves when nothing of it is under way. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** @returns whether there was any left */
  #giveUpSome(): Promise<boolean> {
    return this.#alone(async () => {
      if (this.#heldBytes === 0n) return false;
      const pieceBytes = (await this.#wantedBytes()) / pieces;
      const leftBytes = this.#heldBytes > pieceBytes ? this.#heldBytes - pieceBytes : 0n;
      this.#parts.log.warn({ leftBytes }, 'the disk is full: some of the reserve is given up');
      await this.#parts.held.shrinkTo(leftBytes, this.#parts.signal);
      this.#heldBytes = leftBytes;
      return true;
    });
  }

  #alone<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#last.then(act, act);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** Whether an error, or what caused it, is that the disk has no room. */
export function isFull(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && at.code === 'ENOSPC') return true;
    if (isReason(at, 'out-of-space')) return true;
  }
  return false;
}
