import { randomBytes } from 'node:crypto';
import type { Directory } from '../../host/directory.ts';
import { moveWhereAbsent } from '../../host/entries.ts';

/**
 * Gives back what was taken by mistake, and never at the cost of what lies in its old place by now: then it gets a name beside it.
 * @returns the name that it has
 */
export async function putBack(
  taken: Directory,
  name: string,
  place: Directory,
  old: string,
): Promise<string> {
  if (await moveWhereAbsent(taken, name, place, old)) return old;
  for (;;) {
    const beside = `displaced-${randomBytes(6).toString('hex')}`;
    if (await moveWhereAbsent(taken, name, place, beside)) return beside;
  }
}
