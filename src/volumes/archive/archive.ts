import type { Directory } from '../../host/directory.ts';
import { readIfPresent, writeDurably } from '../../host/durable-file.ts';
import { touchFile } from '../../host/entries.ts';
import { inLanes } from '../../host/lanes.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { usedName } from '../records/record-store.ts';
import { formatRecord, parseRecord, recordName, type VolumeRecord } from '../records/record.ts';

/** A volume in the archive. */
export interface Archived {
  /** of its folder: the volume's id, with the time after it where that was taken */
  readonly archiveId: string;
  readonly record: VolumeRecord;
  readonly archivedAtMs: number;
  /** what it counts for: nobody writes to it, so a thin image is what it takes and no more */
  readonly takenBytes: bigint;
}

export interface ArchiveParts {
  readonly folder: Directory;
  /** what a volume at this path has written; undefined: not known */
  readonly writtenBytes: (path: string, spec: VolumeSpec) => Promise<bigint | undefined>;
  readonly log: Log;
}

/**
 * A pool's archive: deleted volumes whose class wants their data kept, each a folder with its record, as it was below `volumes`. Nothing
 * of it is ever removed unasked.
 */
export class Archive {
  readonly #parts: ArchiveParts;
  readonly #byId = new Map<string, Archived>();
  #usedBytes = 0n;

  constructor(parts: ArchiveParts) {
    this.#parts = parts;
  }

  get folder(): Directory {
    return this.#parts.folder;
  }

  /** Finds what lies there. What has no record that can be read is reported and left alone. */
  async load(): Promise<void> {
    const { folder, log } = this.#parts;
    await inLanes(await folder.names(), 16, async (name) => {
      try {
        await this.note(name, await this.#read(name));
      } catch (error) {
        log.error({ path: folder.pathOf(name), error: messageOf(error) }, 'archived volume cannot be read');
      }
    });
  }

  all(): readonly Archived[] {
    return [...this.#byId.values()];
  }

  get(archiveId: string): Archived | undefined {
    return this.#byId.get(archiveId);
  }

  /** Kept as a sum: every create asks. */
  usedBytes(): bigint {
    return this.#usedBytes;
  }

  /** Whether anything in it was made of another volume or of a snapshot, and may share blocks with it. */
  hasCopies(): boolean {
    return this.all().some(({ record }) => record.source !== undefined);
  }

  /**
   * Moves a volume's folder here, whose record says since when; when it resolves that is on the disk, and at every moment before the
   * volume is whole in one of the two.
   */
  async take(volumes: Directory, record: VolumeRecord): Promise<Archived | undefined> {
    const { folder } = this.#parts;
    const { id } = record.spec;
    const isTaken = await folder.exists(id);
    const archiveId = isTaken ? `${id}.${record.archivedAtMs ?? record.createdAtMs}` : id;
    try {
      await volumes.rename(id, folder, archiveId);
    } catch (error) {
      // moved, but perhaps not yet durably: the caller has to repeat
      if (!(await volumes.exists(id)) && (await folder.exists(archiveId))) await this.note(archiveId, record);
      throw StorageError.from(error, `moving volume ${id} to ${folder.realPath}`);
    }
    return this.note(archiveId, record);
  }

  /**
   * Makes a volume of it again, ready and never to be swept: its folder goes back, its record says so. The caller has seen that no
   * volume has the id, holds the id's lock, and puts the record where it belongs.
   */
  async giveBack(archiveId: string, volumes: Directory): Promise<VolumeRecord> {
    const found = this.#byId.get(archiveId);
    if (found === undefined) throw notArchived(archiveId);
    const { archivedAtMs: _, ...record } = found.record;
    const back: VolumeRecord = { ...record, state: 'ready', acknowledged: true, used: true };
    const directory = await this.#parts.folder.openChild(archiveId);
    try {
      // without it a later start would think that nobody ever wrote to it
      await touchFile(directory, usedName);
      await writeDurably(directory, recordName, formatRecord(back));
    } finally {
      await directory.close();
    }
    try {
      await this.#parts.folder.rename(archiveId, volumes, record.spec.id);
    } catch (error) {
      if (!(await this.#parts.folder.exists(archiveId))) this.forget(archiveId);
      throw error;
    }
    this.forget(archiveId);
    return back;
  }

  /** In memory only: it is gone from here. */
  forget(archiveId: string): void {
    this.#usedBytes -= this.#byId.get(archiveId)?.takenBytes ?? 0n;
    this.#byId.delete(archiveId);
  }

  /** In memory only: it is here. */
  async note(archiveId: string, record: VolumeRecord): Promise<Archived> {
    const { spec } = record;
    const path = this.#parts.folder.pathOf(archiveId);
    const writtenBytes =
      spec.provisioning === 'thick'
        ? undefined
        : await this.#parts.writtenBytes(path, spec).catch(() => undefined);
    const takenBytes = writtenBytes ?? spec.sizeBytes;
    const archivedAtMs = record.archivedAtMs ?? record.createdAtMs;
    const archived: Archived = { archiveId, record, archivedAtMs, takenBytes };
    this.forget(archiveId);
    this.#byId.set(archiveId, archived);
    this.#usedBytes += takenBytes;
    return archived;
  }

  async #read(name: string): Promise<VolumeRecord> {
    const directory = await this.#parts.folder.openChild(name);
    try {
      const text = await readIfPresent(directory, recordName);
      if (text === undefined) {
        throw new StorageError('data-loss', `it has no ${recordName}; restore it or move the data away`);
      }
      return parseRecord(text, `${directory.realPath}/${recordName}`);
    } finally {
      await directory.close();
    }
  }
}

export function notArchived(archiveId: string): StorageError {
  const name = JSON.stringify(archiveId).slice(1, -1);
  return new StorageError('volume-not-found', `${name} is in no archive of this node; loam gc lists what is`);
}
