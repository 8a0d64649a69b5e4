import { StorageError } from '../model/errors.ts';
import { isVolumeId, type VolumeId } from '../model/volume-id.ts';
import { parseRecord, type VolumeRecord } from './record.ts';

/** A deleted volume whose bytes are still there, for people and metrics. */
export interface TrashEntry {
  readonly id: VolumeId;
  /** below the pool's trash: the id and the time of the deletion */
  readonly name: string;
  readonly sinceMs: number;
  readonly method: 'delete' | 'scrub';
  /** the size that its record promised; 0n where the record could not be read */
  readonly promisedBytes: bigint;
  /** times that its removal was begun in this process */
  readonly attempts: number;
  /** why the last attempt failed; unset while none has */
  readonly failure?: StorageError;
}

/** What a trash entry's record says, if there is one that can be read. */
export type EntryRecord =
  | { readonly kind: 'read'; readonly record: VolumeRecord }
  /** a volume that was half made, or whose removal ended just before its directory went */
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly why: string };

export function readEntryRecord(text: string | undefined, path: string): EntryRecord {
  if (text === undefined) return { kind: 'absent' };
  try {
    return { kind: 'read', record: parseRecord(text, path) };
  } catch (error) {
    return { kind: 'unreadable', why: StorageError.from(error, `reading ${path}`).message };
  }
}

/** How the bytes are to go. A damaged record may have asked for a scrub, so it gets one: secrets outlive their labels. */
export function methodOf(
  found: EntryRecord,
): { kind: 'delete' } | { kind: 'scrub'; how: VolumeRecord['scrub'] } {
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

export function entryName(id: VolumeId, timeMs: number): string {
  return `${id}.${timeMs}`;
}

/** The parts of an entry's name; undefined for what we did not put there. */
export function parseEntryName(name: string): { readonly id: VolumeId; readonly timeMs: number } | undefined {
  const [, id, time] = /^(.+)\.(\d{1,15})$/.exec(name) ?? [];
  return id !== undefined && isVolumeId(id) ? { id, timeMs: Number(time) } : undefined;
}

const firstDelayMs = 1000;
const longestDelayMs = 5 * 60_000;

/** How long to leave an entry alone after so many failures in a row. */
export function backOffMs(failures: number): number {
  return Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures - 1, 20));
}
