import { StorageError } from '../model/errors.ts';
import { describeEntry } from '../model/snapshot-id.ts';

interface Holder {
  readonly doing: string;
  readonly over: Promise<void>;
}

/** How long a call waits for its turn: beyond this its caller's back-off serves better than our queue. */
const longestWaitMs = 5_000;

/** One call at a time per key. */
export class KeyedLock {
  readonly #held = new Map<string, Holder>();

  /**
   * A second call is not queued but answered `busy` at once, as CSI wants it (ABORTED, "operation pending"): callers
   * repeat with back-off, and a queue would only hide a call that hangs.
   *
   * @param doing what is being done, for the message of whoever comes second
   * @throws StorageError 'busy' when the key is held; else whatever the action throws
   */
  async run<T>(key: string, doing: string, action: () => Promise<T>): Promise<T> {
    const other = this.#held.get(key);
    if (other !== undefined) throw busy(key, other);
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    this.#held.set(key, { doing, over });
    try {
      return await action();
    } finally {
      this.#held.delete(key);
      end();
    }
  }

  /**
   * Waits for its turn: two pods of one volume that come or go at the same moment are both right, and `busy` would cost
   * the second one kubelet's back-off of half a second.
   *
   * @throws StorageError 'busy' when the turn has not come after 5 s, or when the signal aborts while waiting
   */
  async runInTurn<T>(key: string, doing: string, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(longestWaitMs)]);
    for (let other = this.#held.get(key); other !== undefined; other = this.#held.get(key)) {
      if (patience.aborted) throw busy(key, other);
      await Promise.race([other.over, aborted(patience)]);
    }
    return this.run(key, doing, action);
  }

  /** How many calls are under way. */
  get size(): number {
    return this.#held.size;
  }

  holds(key: string): boolean {
    return this.#held.has(key);
  }
}

function busy(key: string, { doing }: Holder): StorageError {
  return new StorageError(
    'busy',
    `${describeEntry(key)}: ${doing} is still running; repeat the call when it is over`,
  );
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
