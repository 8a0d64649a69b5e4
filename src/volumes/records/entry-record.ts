import type { ScrubMethod } from '../../model/class-parameters.ts';
import { isSnapshotId, type EntryId } from '../../model/snapshot-id.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { promisedTo } from '../space/promised.ts';
import { parseRecord, recordName } from './record.ts';
import { parseSnapshotRecord, snapshotRecordName } from './snapshot-record.ts';

/** The records' names: what goes last of a directory that is being removed. */
export const recordNames: readonly string[] = [recordName, snapshotRecordName];

/** What the record of a volume or snapshot says about its end. */
export interface DoomedRecord {
  /** of a snapshot: its source's */
  readonly spec: VolumeSpec;
  readonly onDelete: 'delete' | 'scrub';
  readonly scrub: ScrubMethod;
  /** what it counts for in its pool until the last byte is gone */
  readonly promisedBytes: bigint;
  /** made of another volume or of a snapshot, and may share blocks with it */
  readonly isCopy: boolean;
}

/** The name of the record in such a directory. */
export function recordNameOf(id: EntryId): string {
  return isSnapshotId(id) ? snapshotRecordName : recordName;
}

/** @throws StorageError 'data-loss' naming the path and what is wrong */
export function parseDoomed(id: EntryId, text: string, path: string): DoomedRecord {
  if (isSnapshotId(id)) {
    const { spec, onDelete, scrub, addedBytes } = parseSnapshotRecord(text, path);
    return { spec, onDelete, scrub, promisedBytes: addedBytes, isCopy: true };
  }
  const { spec, onDelete, scrub, source, state } = parseRecord(text, path);
  // one to be archived comes here only where that was asked for by name, or was half made
  const method = onDelete === 'archive' ? 'delete' : onDelete;
  // the old data of a recycled volume: the volume itself is still promised its size, once
  const promisedBytes = state === 'recycling' ? 0n : promisedTo(spec);
  return { spec, onDelete: method, scrub, promisedBytes, isCopy: source !== undefined };
}
