import { parseDurationMs } from './duration.ts';
import { messageOf, StorageError } from './errors.ts';

/**
 * What becomes of a volume whose node does not come back (class parameter `onNodeLoss`, kept in the PV's annotation).
 * `keep`: everything waits for the node. `release`: once the claim is deleted the PV may go without the node, whose disk is cleaned
 * when it returns. `recreate-empty`: the claim is made anew, empty, wherever its pod can run; what was in it is given up.
 */
export type NodeLossPolicy =
  { readonly kind: 'keep' } | { readonly kind: 'release' | 'recreate-empty'; readonly afterMs: number };

const form = /^(release-after|recreate-empty)\s+(\S+)$/;

/**
 * Reads `keep`, `release-after 24h` or `recreate-empty 10m`; the time counts from when the node was last seen alive.
 *
 * @throws StorageError 'invalid-parameter' with what it may say
 */
export function parseNodeLoss(text: string): NodeLossPolicy {
  if (text === 'keep') return { kind: 'keep' };
  const [, word, duration = ''] = form.exec(text) ?? [];
  const refused = (why: string): StorageError =>
    new StorageError(
      'invalid-parameter',
      `onNodeLoss is ${JSON.stringify(text)}${why}; it can be keep, release-after 24h, recreate-empty 10m`,
    );
  if (word === undefined) throw refused('');
  try {
    const afterMs = parseDurationMs(duration);
    return { kind: word === 'recreate-empty' ? word : 'release', afterMs };
  } catch (error) {
    throw refused(`: ${messageOf(error)}`);
  }
}
