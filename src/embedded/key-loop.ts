import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';

/** Handles keys one after the other, each once however often it was added meanwhile; a key that fails comes again. */
export class KeyLoop {
  readonly #handle: (key: string) => void;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #keys = new Set<string>();
  readonly #timers = new Set<() => void>();
  #isScheduled = false;
  #isPaused = false;
  #isStopped = false;

  constructor(options: { handle: (key: string) => void; clock: Clock; log: Log }) {
    this.#handle = options.handle;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  add(key: string): void {
    if (this.#isStopped) return;
    this.#keys.add(key);
    this.#schedule();
  }

  addAfter(key: string, delayMs: number): void {
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(cancel);
      this.add(key);
    });
    this.#timers.add(cancel);
  }

  /** Paused, keys collect and nothing happens: a controller that lags behind. */
  pause(isPaused: boolean): void {
    this.#isPaused = isPaused;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    this.#keys.clear();
    for (const cancel of this.#timers) cancel();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isPaused || this.#keys.size === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#isPaused) this.#drain();
    });
  }

  #drain(): void {
    const keys = [...this.#keys];
    this.#keys.clear();
    for (const key of keys) {
      try {
        this.#handle(key);
      } catch (error) {
        this.#log.warn({ key, error: messageOf(error) }, 'control plane: trying again');
        if (!this.#isStopped) this.addAfter(key, 200);
      }
    }
  }
}
