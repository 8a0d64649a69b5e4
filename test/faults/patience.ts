import { setTimeout as sleep } from 'node:timers/promises';
import { isNotFound } from '../../src/kube/api-error.ts';
import { OperatorRefusal } from '../../src/operator/operator-client.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { patienceMs } from './campaign.ts';
import { Stuck } from './kept-volume.ts';

/** Again and again until it works, as kubelet does. */
export async function insistently(what: string, call: () => Promise<unknown>): Promise<void> {
  await inTime(
    eventually(
      what,
      async () => {
        try {
          await call();
          return true;
        } catch (error) {
          await sleep(100);
          throw new NotYet(String(error));
        }
      },
      patienceMs,
    ),
  );
}

/** A removal whose answer was lost may be done: only then a repeat may hear that there is no such thing. */
export function once(remove: () => Promise<unknown>): () => Promise<void> {
  let isUnknown = false;
  return async () => {
    try {
      await remove();
    } catch (error) {
      if (!(error instanceof OperatorRefusal)) throw error;
      if (isUnknown && error.code === 'NOT_FOUND') return;
      isUnknown ||= error.code === 'UNKNOWN';
      throw error;
    }
  };
}

/** What does not end in time is stuck. @throws Stuck */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isNotFound(error)) throw error;
    throw new Stuck(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

export function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}
