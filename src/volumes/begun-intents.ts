import type { StorageError } from '../model/errors.ts';

/** In memory only: what a process that is gone had begun is in its record, and recovery removes it. */
const begun = new WeakSet<object>();

/** From here on a folder of the intent's name is its own. To be said before the folder is asked for. */
export function noteBegun(intent: object): void {
  begun.add(intent);
}

/**
 * Whether what lies in the folder of an intent's name is to be removed with it: it may hold somebody's data without a record of ours
 * where the making found it there, or never came so far as to ask for it.
 * @param failure unset: an earlier attempt is undone, which had begun
 */
export function isOursToUndo(intent: object, failure?: StorageError): boolean {
  return failure === undefined || (begun.has(intent) && failure.facts['isForeign'] !== true);
}
