import type { CallContext } from '../../model/csi-driver.ts';
import { callError } from '../volume-environment.ts';

/** A few actions at a time, whatever they are about; the others wait for their turn, in the order in which they came. */
export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(width: number) {
    this.#free = width;
  }

  /**
   * @param doing for the message of a caller that goes away while it waits; then the action is never begun
   * @throws StorageError 'cancelled' | 'deadline-exceeded' | what the signal was aborted with; else what the action throws
   */
  async run<T>(call: CallContext, doing: string, action: () => Promise<T>): Promise<T> {
    if (!(await this.#isMyTurn(call.signal))) throw callError(undefined, call, doing);
    try {
      return await action();
    } finally {
      this.#pass();
    }
  }

  /** Whether it came before the caller went away. */
  #isMyTurn(signal: AbortSignal): Promise<boolean> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve(true);
    }
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const take = (): void => {
        signal.removeEventListener('abort', leave);
        resolve(true);
      };
      const leave = (): void => {
        this.#waiting.delete(take);
        resolve(false);
      };
      this.#waiting.add(take);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #pass(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
