import type { Clock } from '../model/clock.ts';

/**
 * A time of holding a Lease. It ends by itself unless each renewal puts its end off, counted from when that renewal was *sent*: others
 * can have seen it only later than that, so they count longer than we do. Timers, not times of day: the clock may be set meanwhile.
 */
export class LeaseTerm {
  readonly #over = new AbortController();
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  #disarm = (): void => {};

  constructor(clock: Clock, deadlineMs: number) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
    this.#disarm = this.#arm();
  }

  /** aborts when the term is over, with the reason */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** To be called before a renewal is sent; what it returns, when the renewal has succeeded (true) or not. */
  renewal(): (hasSucceeded: boolean) => void {
    const disarm = this.#arm();
    return (hasSucceeded) => {
      if (!hasSucceeded || this.signal.aborted) disarm();
      else {
        this.#disarm();
        this.#disarm = disarm;
      }
    };
  }

  end(reason: string): void {
    this.#disarm();
    this.#over.abort(new Error(reason));
  }

  #arm(): () => void {
    return this.#clock.after(this.#deadlineMs, () =>
      this.end(`the Lease could not be renewed for ${this.#deadlineMs / 1000} s`),
    );
  }
}
