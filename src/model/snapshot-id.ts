import { createHash } from 'node:crypto';
import { isVolumeId, type VolumeId } from './volume-id.ts';

/**
 * Every snapshot's id begins with this. A volume's id cannot have an underscore, so that whoever holds an id, a trash or a lock,
 * never takes the one kind for the other.
 */
const prefix = 'snap_';
/** CSI: an id has at most 128 bytes */
const longestIdBytes = 128;

/** One path component, and never a volume's id. */
export type SnapshotId = string & { readonly __snapshot: 'SnapshotId' };

/** What has a directory of its own in a pool. */
export type EntryId = VolumeId | SnapshotId;

export function isSnapshotId(text: string): text is SnapshotId {
  return text.length <= longestIdBytes && text.startsWith(prefix) && isVolumeId(text.slice(prefix.length));
}

export function isEntryId(text: string): text is EntryId {
  return isVolumeId(text) || isSnapshotId(text);
}

/** The id of the snapshot that a CSI name stands for, always the same: with the name in it where that fits, else a hash of it. */
export function snapshotIdOf(name: string): SnapshotId {
  const plain = `${prefix}${name}`;
  if (isSnapshotId(plain) && !name.startsWith('h-')) return plain;
  return `${prefix}h-${createHash('sha256').update(name).digest('hex').slice(0, 40)}` as SnapshotId;
}

/** What an id, or the name of an entry in the trash, is of. */
export function nounOf(id: string): 'snapshot' | 'volume' {
  return id.startsWith(prefix) ? 'snapshot' : 'volume';
}

/** The id with what it is the id of, for people. */
export function describeEntry(id: string): string {
  return `${nounOf(id)} ${id}`;
}
