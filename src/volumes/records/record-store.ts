import type { Directory } from '../../host/directory.ts';
import { touchFile } from '../../host/entries.ts';
import { readIfPresent, writeDurably } from '../../host/durable-file.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import { formatRecord, parseRecord, recordName, type VolumeRecord } from './record.ts';
import { ClaimIndex } from './claim-index.ts';
import { scanRecords, type RecordKind, type ScanReport } from './scan-records.ts';
import { promisedTo } from '../space/promised.ts';
import { UnwrittenSpace } from '../space/unwritten-space.ts';
import { notHere } from '../not-here.ts';

/**
 * An empty file beside the record, there once a PV was seen. A file of its own, since it can be made without an fsync:
 * a power cut loses the mark, never the record.
 */
export const acknowledgedName = 'acknowledged';
/** Likewise, once the volume is staged for the first time; that mark is flushed, since data may follow. */
export const usedName = 'used';

/** Does something that can be repeated. */
export type WithReserve = <T>(act: () => Promise<T>) => Promise<T>;

/**
 * The records of one pool: files beside the data, and an index of them in memory, by id and by name.
 *
 * The index is what capacity is counted from: a record is put into it before the first byte is written and taken out
 * after the last one is gone, both synchronously, so that calls at the same time cannot promise the same space.
 */
export class RecordStore {
  readonly #volumes: Directory;
  readonly #withReserve: WithReserve;
  readonly #records = new Map<string, VolumeRecord>();
  readonly #broken = new Map<string, StorageError>();
  readonly #idByName = new Map<string, VolumeId>();
  readonly #byClaim = new ClaimIndex();
  readonly #recycling = new Map<string, VolumeRecord>();
  #promisedBytes = 0n;
  readonly #unwritten = new UnwrittenSpace();
  #reservedUnwrittenBytes = 0n;
  #sharingNotes = 0;
  #copied = 0;

  /** @param withReserve does what a full disk must not keep from being done; unset: as any other */
  constructor(volumes: Directory, withReserve: WithReserve = (act) => act()) {
    this.#volumes = volumes;
    this.#withReserve = withReserve;
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

  /** Those that name a claim of this namespace and name, of whatever uid. */
  madeFor(claim: { readonly namespace: string; readonly name: string }): readonly VolumeRecord[] {
    return this.#byClaim.idsFor(claim).flatMap((id) => this.#records.get(id) ?? []);
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

  /** What images may yet take from the disk, as of the last looks at them. */
  get unwrittenBytes(): bigint {
    return this.#unwritten.totalBytes + this.#reservedUnwrittenBytes;
  }

  /** Notes how much of an image lies on the disk. One that was never looked at counts as unwritten. */
  noteAllocated(id: string, allocatedBytes: bigint): void {
    this.#unwritten.noteAllocated(id, allocatedBytes);
  }

  /** Notes how many of an image's bytes others have too, as after a snapshot or clone of it, and of it itself where it is one. */
  noteShared(id: string, sharedBytes: bigint): void {
    this.#unwritten.noteShared(id, sharedBytes);
    this.#sharingNotes += 1;
  }

  /** How often it was noted, of any: whoever measured may have been overtaken by a copy. */
  get sharingNotes(): number {
    return this.#sharingNotes;
  }

  /** How many were made of another volume or a snapshot. */
  get copied(): number {
    return this.#copied;
  }

  /** Those that are being emptied. */
  recycling(): IterableIterator<VolumeRecord> {
    return this.#recycling.values();
  }

  /** What was last noted. */
  sharedBytes(id: string): bigint {
    return this.#unwritten.sharedBytes(id);
  }

  /** In memory only: what a reservation, a commit or an acknowledgement changes. */
  put(record: VolumeRecord): void {
    this.#drop(record.spec.id);
    this.#records.set(record.spec.id, record);
    this.#idByName.set(record.name, record.spec.id);
    this.#byClaim.add(record);
    this.#promisedBytes += promisedTo(record.spec);
    if (record.source !== undefined) this.#copied += 1;
    if (record.state === 'recycling') this.#recycling.set(record.spec.id, record);
    this.#unwritten.put(record.spec);
  }

  /**
   * Counts what a volume is about to be promised beyond its record, in memory and at once. The returned function takes it back, once
   * the record says it too, or the attempt has failed.
   */
  reserve(record: VolumeRecord, addedBytes: bigint): () => void {
    const unwrittenBytes = isThinImage(record) ? addedBytes : 0n;
    this.#promisedBytes += addedBytes;
    this.#reservedUnwrittenBytes += unwrittenBytes;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#promisedBytes -= addedBytes;
      this.#reservedUnwrittenBytes -= unwrittenBytes;
    };
  }

  /** In memory only: the volume is gone, or was never made. */
  forget(id: string): void {
    this.#drop(id);
    this.#unwritten.forget(id);
  }

  #drop(id: string): void {
    this.#broken.delete(id);
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.#recycling.delete(id);
    this.#idByName.delete(record.name);
    this.#byClaim.remove(record);
    this.#promisedBytes -= promisedTo(record.spec);
    if (record.source !== undefined) this.#copied -= 1;
  }

  /** Writes a record into the volume's directory. Durable when it resolves; a crash leaves the old one or the new one. */
  async write(directory: Directory, record: VolumeRecord): Promise<void> {
    await writeDurably(directory, recordName, formatRecord(record));
  }

  /**
   * Changes a volume's record, on the disk and then in memory; its lock is the caller's to hold. What is noted of the volume
   * meanwhile stays noted.
   */
  async change(id: VolumeId, change: (record: VolumeRecord) => VolumeRecord): Promise<void> {
    const before = this.#records.get(id);
    if (before === undefined) throw notHere(id);
    const directory = await this.#volumes.openChild(id);
    const follow = (): void => this.put(change(this.#records.get(id) ?? before));
    try {
      await this.#withReserve(() => this.write(directory, change(before)));
    } catch (error) {
      // written all the same, though perhaps not durably: what the disk says is what counts
      const text = await readIfPresent(directory, recordName).catch(() => undefined);
      if (text === formatRecord(change(before))) follow();
      throw error;
    } finally {
      await directory.close();
    }
    follow();
  }

  /**
   * Writes the intent to make a volume. Survives kill -9. A power cut may leave an empty file of it, which is enough
   * for an empty directory (what is empty below it can be removed without knowing more) and saves two of its five fsyncs;
   * an image, or a copy, is not made before its intent is on the disk.
   */
  async writeIntent(directory: Directory, record: VolumeRecord): Promise<void> {
    const sync = record.spec.backend !== 'directory' || record.source !== undefined;
    await writeDurably(directory, recordName, formatRecord(record), { sync });
  }

  /** Notes that a PV of the volume exists. Survives kill -9; after a power cut it is found out anew. */
  async acknowledge(record: VolumeRecord): Promise<void> {
    if (record.acknowledged) return;
    const directory = await this.#volumes.openChild(record.spec.id);
    try {
      await this.#withReserve(() => touchFile(directory, acknowledgedName));
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
      await this.#withReserve(() => touchFile(directory, usedName));
      await directory.sync();
    } finally {
      await directory.close();
    }
    const current = this.#records.get(record.spec.id);
    if (current !== undefined) this.put({ ...current, acknowledged: true, used: true });
  }

  /** Reads the record of a volume that has just come here into the index. @throws StorageError 'data-loss' */
  async load(id: VolumeId): Promise<VolumeRecord> {
    const directory = await this.#volumes.openChild(id);
    try {
      const path = directory.pathOf(recordName);
      const text = (await readIfPresent(directory, recordName)) ?? '';
      const record = volumeKind.parse(text, path, await directory.names());
      this.put(record);
      return record;
    } finally {
      await directory.close();
    }
  }

  /** Reads every record into the index. Never changes anything on disk. */
  scan(): Promise<ScanReport> {
    return scanRecords(this.#volumes, volumeKind, (name, found) => {
      if ('broken' in found) this.#broken.set(name, found.broken);
      else this.put(found.record);
    });
  }
}

const volumeKind: RecordKind<VolumeRecord> = {
  recordName,
  noun: 'volume',
  parse: (text, path, names) => {
    const record = parseRecord(text, path);
    const used = names.includes(usedName);
    return { ...record, acknowledged: record.acknowledged || used || names.includes(acknowledgedName), used };
  },
  idOf: ({ spec }) => spec.id,
};

/** Whether the volume takes its space when it is written; a thick one has it, a directory is not told from its pool. */
function isThinImage({ spec }: VolumeRecord): boolean {
  return spec.backend === 'loopback' && spec.provisioning === 'thin';
}
