import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { parseMountinfo, type Mount } from './mountinfo.ts';

export interface ForeignMount {
  readonly mount: Mount;
  /** a process that lives in that namespace, for people */
  readonly pid: number;
}

interface Namespace {
  readonly pid: number;
  /** of its mountinfo */
  readonly lines: readonly string[];
}

/** A burst of deletes that asks within this time is answered by one look, taken after the last of them has asked. */
const gatherMs = 2;

let nextLook: Promise<readonly Namespace[]> | undefined;

/**
 * Mounts in other mount namespaces than ours: a container that got a copy of a mount keeps the file system busy after
 * it is gone here. Sees only the processes that /proc shows, as they are after the call.
 *
 * @param mayMatter a cheap look at a line of mountinfo, since there are thousands
 */
export async function mountsInOtherNamespaces(mayMatter: (line: string) => boolean): Promise<ForeignMount[]> {
  nextLook ??= new Promise((resolve) => {
    setTimeout(() => {
      nextLook = undefined;
      resolve(lookIntoNamespaces());
    }, gatherMs);
  });
  const namespaces = await nextLook;
  return namespaces.flatMap(({ pid, lines }) =>
    parseMountinfo(lines.filter(mayMatter).join('\n')).map((mount) => ({ mount, pid })),
  );
}

/** Synchronous: /proc never blocks, and hundreds of awaited reads cost ten times as much. */
function lookIntoNamespaces(): Namespace[] {
  const seen = new Set([quietly(() => readlinkSync('/proc/self/ns/mnt'))]);
  const found: Namespace[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const namespace = quietly(() => readlinkSync(`/proc/${pid}/ns/mnt`));
    if (namespace === undefined || seen.has(namespace)) continue;
    seen.add(namespace);
    // a process that ended meanwhile took its namespace along, or another one of it will come
    const text = quietly(() => readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
    if (text === undefined) seen.delete(namespace);
    else found.push({ pid, lines: text.split('\n') });
  }
  return found;
}

function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
