import type { Directory } from '../host/directory.ts';
import { touchFile } from '../host/entries.ts';
import { readIfPresent, temporaryPrefix, writeDurably } from '../host/durable-file.ts';
import { isReason, StorageError } from '../model/errors.ts';
import { isVolumeId, type VolumeId } from '../model/volume-id.ts';
import { inLanes } from '../host/lanes.ts';
import { isMadeBeforeCommit } from './clear-hollow.ts';
import { formatRecord, parseRecord, recordName, type VolumeRecord } from './record.ts';

/**
 * An empty file beside the record, there once a PV was seen. A file of its own, since it can be made without an fsync:
 * a power cut loses the mark, never the record.
 */
export const acknowledgedName = 'acknowledged';
/** Likewise, once the volume is staged for the first time; that mark is flushed, since data may follow. */
export const usedName = 'used';

/** What a scan found besides sound records. */
export interface ScanReport {
  /** directories in which no record was ever committed, by all that can be seen from above; also among the broken */
  readonly hollow: readonly string[];
  /** directories in which a crash left unfinished files */
  readonly withUnfinished: readonly string[];
}

/**
 * The records of one pool: files beside the data, and an index of them in memory, by id and by name.
 *
 * The index is what capacity is counted from: a record is put into it before the first byte is written and taken out
 * after the last one is gone, both synchronously, so that calls at the same time cannot promise the same space.
 */
export class RecordStore {
  readonly #volumes: Directory;
  readonly #records = new Map<string, VolumeRecord>();
  readonly #broken = new Map<string, StorageError>();
  readonly #idByName = new Map<string, VolumeId>();
  #promisedBytes = 0n;
  readonly #allocatedById = new Map<string, bigint>();
  #unwrittenBytes = 0n;

  constructor(volumes: Directory) {
    this.#volumes = volumes;
  }

  get(id: string): VolumeRecord | undefined {
    return this.#records.get(id);
  }

  /** The error of a record that is there and cannot be read; its volume is kept. */
  broken(id: string): StorageError | undefined {
    return this.#broken.get(id);
  }

  byName(name: string): VolumeRecord | undefined {
    const id = this.#idByName.get(name);
    return id === undefined ? undefined : this.#records.get(id);
  }

  all(): IterableIterator<VolumeRecord> {
    return this.#records.values();
  }

  allBroken(): IterableIterator<[string, StorageError]> {
    return this.#broken.entries();
  }

  get size(): number {
    return this.#records.size;
  }

  get promisedBytes(): bigint {
    return this.#promisedBytes;
  }

  /** What thin images were promised and have not taken from the disk, as of the last looks at them. */
  get unwrittenBytes(): bigint {
    return this.#unwrittenBytes;
  }

  /** Notes how much of an image lies on the disk. One that was never looked at counts as unwritten. */
  noteAllocated(id: string, allocatedBytes: bigint): void {
    const record = this.#records.get(id);
    if (record === undefined || !isThinImage(record)) return;
    this.#unwrittenBytes -= unwritten(record, this.#allocatedById.get(id));
    this.#allocatedById.set(id, allocatedBytes);
    this.#unwrittenBytes += unwritten(record, allocatedBytes);
  }

  /** In memory only: what a reservation, a commit or an acknowledgement changes. */
  put(record: VolumeRecord): void {
    const allocatedBytes = this.#allocatedById.get(record.spec.id);
    this.forget(record.spec.id);
    this.#records.set(record.spec.id, record);
    this.#idByName.set(record.name, record.spec.id);
    this.#promisedBytes += record.spec.sizeBytes;
    this.#unwrittenBytes += unwritten(record, undefined);
    if (allocatedBytes !== undefined) this.noteAllocated(record.spec.id, allocatedBytes);
  }

  /** In memory only: the volume is gone, or was never made. */
  forget(id: string): void {
    this.#broken.delete(id);
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.#idByName.delete(record.name);
    this.#promisedBytes -= record.spec.sizeBytes;
    this.#unwrittenBytes -= unwritten(record, this.#allocatedById.get(id));
    this.#allocatedById.delete(id);
  }

  /** Writes a record into the volume's directory. Durable when it resolves; a crash leaves the old one or the new one. */
  async write(directory: Directory, record: VolumeRecord): Promise<void> {
    await writeDurably(directory, recordName, formatRecord(record));
  }

  /**
   * Writes the intent to make a volume. Survives kill -9. A power cut may leave an empty file of it, which is enough
   * for a directory (what is empty below it can be removed without knowing more) and saves two of its five fsyncs;
   * an image is not made before its intent is on the disk.
   */
  async writeIntent(directory: Directory, record: VolumeRecord): Promise<void> {
    const sync = record.spec.backend !== 'directory';
    await writeDurably(directory, recordName, formatRecord(record), { sync });
  }

  /** Notes that a PV of the volume exists. Survives kill -9; after a power cut it is found out anew. */
  async acknowledge(record: VolumeRecord): Promise<void> {
    if (record.acknowledged) return;
    const directory = await this.#volumes.openChild(record.spec.id);
    try {
      await touchFile(directory, acknowledgedName);
    } finally {
      await directory.close();
    }
    const current = this.#records.get(record.spec.id);
    if (current !== undefined) this.put({ ...current, acknowledged: true });
  }

  /** Notes that somebody may write to the volume from now on, so that it has a PV, too. Durable when it resolves. */
  async markUsed(record: VolumeRecord): Promise<void> {
    if (record.used === true) return;
    const directory = await this.#volumes.openChild(record.spec.id);
    try {
      await touchFile(directory, usedName);
      await directory.sync();
    } finally {
      await directory.close();
    }
    const current = this.#records.get(record.spec.id);
    if (current !== undefined) this.put({ ...current, acknowledged: true, used: true });
  }

  /** Reads every record into the index. Never changes anything on disk. */
  async scan(): Promise<ScanReport> {
    const hollow: string[] = [];
    const withUnfinished: string[] = [];
    await inLanes(await this.#volumes.names(), 32, async (name) => {
      const found = await this.#look(name);
      if (found.hasUnfinished) withUnfinished.push(name);
      if (found.isHollow) hollow.push(name);
      if (found.record instanceof StorageError) this.#broken.set(name, found.record);
      else this.put(found.record);
    });
    return { hollow, withUnfinished };
  }

  async #look(name: string): Promise<{
    readonly record: VolumeRecord | StorageError;
    readonly hasUnfinished: boolean;
    readonly isHollow: boolean;
  }> {
    const path = this.#volumes.pathOf(name);
    let hasUnfinished = false;
    let isHollow = false;
    let directory: Directory | undefined;
    try {
      directory = await this.#volumes.openChild(name);
      const names = await directory.names();
      hasUnfinished = names.some((file) => file.startsWith(temporaryPrefix));
      const text = await readIfPresent(directory, recordName);
      isHollow = (text ?? '') === '' && names.every(isMadeBeforeCommit);
      const record = this.#parse(name, path, text);
      const used = names.includes(usedName);
      const acknowledged = record.acknowledged || used || names.includes(acknowledgedName);
      return { record: { ...record, acknowledged, used }, hasUnfinished, isHollow };
    } catch (error) {
      const broken = new StorageError(
        'data-loss',
        `${path} is not a volume's directory; look at it by hand`,
        { cause: error },
      );
      return { record: isReason(error, 'data-loss') ? error : broken, hasUnfinished, isHollow };
    } finally {
      await directory?.close();
    }
  }

  #parse(name: string, path: string, text: string | undefined): VolumeRecord {
    if (text === undefined) {
      throw new StorageError(
        'data-loss',
        `${path} has data and no ${recordName}; restore the record or move the data away`,
      );
    }
    const record = parseRecord(text, `${path}/${recordName}`);
    if (!isVolumeId(name) || record.spec.id !== name) {
      throw new StorageError(
        'data-loss',
        `${path}/${recordName} is the record of ${record.spec.id}; put it back where it belongs`,
      );
    }
    return record;
  }
}

/** Whether the volume takes its space when it is written; a thick one has it, a directory is not told from its pool. */
export function isThinImage({ spec }: VolumeRecord): boolean {
  return spec.backend === 'loopback' && spec.provisioning === 'thin';
}

function unwritten(record: VolumeRecord, allocatedBytes = 0n): bigint {
  if (!isThinImage(record) || allocatedBytes >= record.spec.sizeBytes) return 0n;
  return record.spec.sizeBytes - allocatedBytes;
}
