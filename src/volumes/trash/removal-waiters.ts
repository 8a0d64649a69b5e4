/** Who waits for the end of a deleted volume, by its id. */
export class RemovalWaiters {
  readonly #byId = new Map<string, Set<Waiter>>();

  /** @throws what `reject` was called with, or the signal's reason */
  async wait(id: string, signal: AbortSignal): Promise<void> {
    const waiter: Waiter = Promise.withResolvers<void>();
    const waiters = this.#byId.get(id) ?? new Set();
    this.#byId.set(id, waiters.add(waiter));
    const onAbort = () => waiter.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await waiter.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#byId.get(id) === waiters) this.#byId.delete(id);
    }
  }

  resolve(id: string): void {
    for (const waiter of this.#byId.get(id) ?? []) waiter.resolve();
  }

  reject(id: string, reason: Error): void {
    for (const waiter of this.#byId.get(id) ?? []) waiter.reject(reason);
  }

  rejectAll(reason: Error): void {
    for (const id of this.#byId.keys()) this.reject(id, reason);
  }
}

interface Waiter {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(reason: unknown): void;
}
