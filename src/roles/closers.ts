import type { Log } from '../model/log.ts';

/** What was started, to be closed in the opposite order; what fails to close is logged and does not keep the rest open. */
export class Closers {
  readonly #entries: { readonly name: string; readonly close: () => Promise<void> }[] = [];
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  add(name: string, close: () => Promise<void>): void {
    this.#entries.push({ name, close });
  }

  async close(): Promise<void> {
    for (const { name, close } of this.#entries.splice(0).toReversed()) {
      try {
        await close();
      } catch (error) {
        this.#log.warn({ error, part: name }, 'not closed cleanly');
      }
    }
  }
}
