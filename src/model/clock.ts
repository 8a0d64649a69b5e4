/** Time as a port, so that back-off and deadlines are tested without waiting. */
export interface Clock {
  /** milliseconds since the epoch */
  nowMs(): number;
  /** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls back once; the returned function cancels. */
  after(delayMs: number, callback: () => void): () => void;
}
