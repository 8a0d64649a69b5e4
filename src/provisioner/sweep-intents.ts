import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Intents } from './intents.ts';

/** How often the records on disk are compared with what this process knows. */
export const sweepMs = 5 * 60_000;

/**
 * Hands what the records say was begun and never got a PV to the claim loop, by the claim's uid. The loop then goes on with it, notes
 * that its PV exists, or undoes it: so whatever destroys a volume of a claim is in line with whatever makes it.
 *
 * @returns how many were handed over
 */
export function sweepIntents(
  intents: Intents,
  enqueue: (claimUid: string) => void,
  log: Log,
  isStart: boolean,
): number {
  try {
    const taken = intents.takeOver(isStart);
    if (taken.length > 0)
      log.info({ volumes: taken.length }, 'found volumes that were begun and have no known PV');
    for (const claimUid of taken) enqueue(claimUid);
    return taken.length;
  } catch (error) {
    log.error({ err: messageOf(error) }, 'could not read which volumes were begun; looking again later');
    return 0;
  }
}
