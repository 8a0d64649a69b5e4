import type { Clock } from '../model/clock.ts';

interface Wakeup {
  readonly dueMs: number;
  readonly cancel: () => void;
}

/** At most one timer a key; of two the earlier stands. */
export class Wakeups {
  readonly #clock: Clock;
  readonly #wake: (key: string) => void;
  readonly #timers = new Map<string, Wakeup>();

  constructor(clock: Clock, wake: (key: string) => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  set(key: string, delayMs: number): void {
    const dueMs = this.#clock.nowMs() + delayMs;
    const known = this.#timers.get(key);
    if (known !== undefined && known.dueMs <= dueMs) return;
    known?.cancel();
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(key);
      this.#wake(key);
    });
    this.#timers.set(key, { dueMs, cancel });
  }

  cancel(key: string): void {
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
  }

  clear(): void {
    for (const { cancel } of this.#timers.values()) cancel();
    this.#timers.clear();
  }
}
