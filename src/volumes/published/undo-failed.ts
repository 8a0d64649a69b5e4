import { messageOf, StorageError } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';

/** It goes on after the caller went away, but not for ever. */
const timeoutMs = 30_000;

/**
 * Undoes what a failed stage or publish may have left. After a final answer kubelet believes that nothing is there, and would leave it
 * behind: where undoing fails too, the answer is one after which it asks again.
 *
 * @throws StorageError 'busy' with both reasons
 */
export async function undoFailed(
  log: Log,
  what: { readonly call: 'stage' | 'publish'; readonly volumeId: string; readonly path: string },
  failure: unknown,
  undo: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  try {
    await undo(AbortSignal.timeout(timeoutMs));
  } catch (error) {
    const why = messageOf(error);
    log.error({ ...what, error: why }, 'a failed call is not undone');
    throw new StorageError(
      'busy',
      `${messageOf(failure)}; and it could not be undone yet (${why}), repeat the call`,
      { cause: failure },
    );
  }
}
