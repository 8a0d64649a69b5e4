import { setTimeout as sleep } from 'node:timers/promises';

/** Says what is still missing; `eventually` shows it when the time is up. */
export class NotYet extends Error {
  override name = 'NotYet';
}

/**
 * Asks again and again until `look` gives something, and returns that. `NotYet` from it means no; other errors go through.
 *
 * @param everyMs longer where each look costs the machine something that others want
 * @throws Error that names what was waited for and why it was not there at the end
 */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 30_000,
  everyMs = 15,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    let why = 'it was not there';
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      if (!(error instanceof NotYet)) throw error;
      why = error.message;
    }
    if (performance.now() > endMs) throw new Error(`${what}: not within ${timeoutMs} ms; ${why}`);
    await sleep(everyMs);
  }
}
