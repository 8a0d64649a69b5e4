import type { Directory } from '../../host/directory.ts';
import { writeDurably } from '../../host/durable-file.ts';
import type { StorageError } from '../../model/errors.ts';
import { PinnedSpace } from '../space/pinned-space.ts';
import { scanRecords, type RecordKind, type ScanReport } from './scan-records.ts';
import {
  formatSnapshotRecord,
  parseSnapshotRecord,
  snapshotRecordName,
  type SnapshotRecord,
} from './snapshot-record.ts';

/**
 * The snapshots of one pool: files beside the data, and an index of them in memory, by id and by source. As with volumes, a
 * record is in the index from before its first byte is written until it has gone to the trash, and capacity is counted from it.
 */
export class SnapshotStore {
  readonly #folder: Directory;
  readonly #records = new Map<string, SnapshotRecord>();
  readonly #broken = new Map<string, StorageError>();
  readonly #bySource = new Map<string, Map<string, SnapshotRecord>>();
  readonly #pinned = new PinnedSpace();

  constructor(folder: Directory) {
    this.#folder = folder;
  }

  get(id: string): SnapshotRecord | undefined {
    return this.#records.get(id);
  }

  /** The error of a record that is there and cannot be read; its snapshot is kept. */
  broken(id: string): StorageError | undefined {
    return this.#broken.get(id);
  }

  all(): Iterable<SnapshotRecord> {
    return this.#records.values();
  }

  allBroken(): Iterable<[string, StorageError]> {
    return this.#broken.entries();
  }

  ofSource(volumeId: string): Iterable<SnapshotRecord> {
    return this.#bySource.get(volumeId)?.values() ?? [];
  }

  get size(): number {
    return this.#records.size;
  }

  /** What they keep from being freed, counted by what each added to those before it. */
  get pinnedBytes(): bigint {
    return this.#pinned.totalBytes;
  }

  /** In memory only. */
  put(record: SnapshotRecord): void {
    const { id, sourceVolumeId } = record;
    this.forget(id);
    this.#records.set(id, record);
    const ofSource = this.#bySource.get(sourceVolumeId) ?? new Map<string, SnapshotRecord>();
    this.#bySource.set(sourceVolumeId, ofSource.set(id, record));
    this.#pinned.add(record);
  }

  /** In memory only: the snapshot is gone, or was never made. */
  forget(id: string): void {
    this.#broken.delete(id);
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.#pinned.remove(record);
    const ofSource = this.#bySource.get(record.sourceVolumeId);
    ofSource?.delete(id);
    if (ofSource?.size === 0) this.#bySource.delete(record.sourceVolumeId);
  }

  /** Writes a record into the snapshot's directory. Durable when it resolves; a crash leaves the old one or the new one. */
  async write(directory: Directory, record: SnapshotRecord): Promise<void> {
    await writeDurably(directory, snapshotRecordName, formatSnapshotRecord(record));
  }

  /** Reads every record into the index. Never changes anything on disk. */
  scan(): Promise<ScanReport> {
    return scanRecords(this.#folder, snapshotKind, (name, found) => {
      if ('broken' in found) this.#broken.set(name, found.broken);
      else this.put(found.record);
    });
  }
}

const snapshotKind: RecordKind<SnapshotRecord> = {
  recordName: snapshotRecordName,
  noun: 'snapshot',
  parse: parseSnapshotRecord,
  idOf: ({ id }) => id,
};
