import { StorageError } from '../../model/errors.ts';
import type { ScrubMethod } from '../../model/class-parameters.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { isEntryId, type EntryId } from '../../model/snapshot-id.ts';
import { parseDoomed, type DoomedRecord } from '../records/entry-record.ts';

/** A deleted volume or snapshot whose bytes are still there, for people and metrics. */
export interface TrashEntry {
  readonly id: EntryId;
  /** below the pool's trash: the id and the time of the deletion */
  readonly name: string;
  readonly sinceMs: number;
  readonly method: 'delete' | 'scrub';
  /** what its record makes it count for; 0n where the record could not be read */
  readonly promisedBytes: bigint;
  /** what it was; unset where its record could not be read */
  readonly spec?: VolumeSpec;
  /** whether its record is damaged, so that nobody knows what it is */
  readonly isUnreadable: boolean;
  /** times that its removal was begun in this process */
  readonly attempts: number;
  /** why the last attempt failed; unset while none has */
  readonly failure?: StorageError;
}

/** What a trash entry's record says, if there is one that can be read. */
export type EntryRecord =
  | { readonly kind: 'read'; readonly record: DoomedRecord }
  /** one that was half made, or whose removal ended just before its directory went */
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly why: string };

export function readEntryRecord(id: EntryId, text: string | undefined, path: string): EntryRecord {
  if (text === undefined) return { kind: 'absent' };
  try {
    return { kind: 'read', record: parseDoomed(id, text, path) };
  } catch (error) {
    return { kind: 'unreadable', why: StorageError.from(error, `reading ${path}`).message };
  }
}

/** How the bytes are to go. A damaged record may have asked for a scrub, so it gets one: secrets outlive their labels. */
export function methodOf(found: EntryRecord): { kind: 'delete' } | { kind: 'scrub'; how: ScrubMethod } {
  switch (found.kind) {
    case 'absent':
      return { kind: 'delete' };
    case 'unreadable':
      return { kind: 'scrub', how: 'zero' };
    case 'read':
      return found.record.onDelete === 'scrub'
        ? { kind: 'scrub', how: found.record.scrub }
        : { kind: 'delete' };
  }
}

export function entryName(id: EntryId, timeMs: number): string {
  return `${id}.${timeMs}`;
}

/** The parts of an entry's name; undefined for what we did not put there. */
export function parseEntryName(name: string): { readonly id: EntryId; readonly timeMs: number } | undefined {
  const [, id, time] = /^(.+)\.(\d{1,15})$/.exec(name) ?? [];
  return id !== undefined && isEntryId(id) ? { id, timeMs: Number(time) } : undefined;
}

const firstDelayMs = 1000;
const longestDelayMs = 5 * 60_000;

/** How long to leave an entry alone after so many failures in a row. */
export function backOffMs(failures: number): number {
  return Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures - 1, 20));
}
