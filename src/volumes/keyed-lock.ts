import { StorageError } from '../model/errors.ts';

/**
 * One call at a time per key. A second one is not queued but answered `busy` at once, as CSI wants it (ABORTED,
 * "operation pending"): callers repeat with back-off, and a queue would only hide a call that hangs.
 */
export class KeyedLock {
  readonly #held = new Map<string, string>();

  /**
   * @param doing what is being done, for the message of whoever comes second
   * @throws StorageError 'busy' when the key is held; else whatever the action throws
   */
  async run<T>(key: string, doing: string, action: () => Promise<T>): Promise<T> {
    const other = this.#held.get(key);
    if (other !== undefined) {
      throw new StorageError(
        'busy',
        `volume ${key}: ${other} is still running; repeat the call when it is over`,
      );
    }
    this.#held.set(key, doing);
    try {
      return await action();
    } finally {
      this.#held.delete(key);
    }
  }

  holds(key: string): boolean {
    return this.#held.has(key);
  }
}
