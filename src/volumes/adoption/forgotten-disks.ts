import type { Directory } from '../../host/directory.ts';
import { readIfPresent } from '../../host/durable-file.ts';
import { removeFile, removeIfEmpty } from '../../host/entries.ts';
import { unlimitedPace } from '../../host/pace.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { whileOpen } from '../../host/while-open.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { DiskPlace, VolumeSpec } from '../../model/volume.ts';
import { parseRecord, recordName, type VolumeRecord } from '../records/record.ts';

/** Begins with a dot, as all that is Loam's own and that no person has business with. */
const folderName = '.forgotten';

/** A disk that was a volume of the pool, and that a person has given up while it was away. */
export interface ForgottenNote {
  readonly spec: VolumeSpec;
  readonly disk: DiskPlace;
  /** whose data it has, if it ever comes back */
  readonly claim?: { readonly namespace: string; readonly name: string };
}

/**
 * What a pool remembers of disks that were given up: the folders of their records, as they lay below `volumes` or in the trash. One rename
 * takes a record out of use and keeps it as the note, so that at no time nobody knows whose data such a disk has.
 */
export class ForgottenDisks {
  readonly #root: Directory;
  readonly #clock: Clock;
  readonly #log: Log;
  /** by the names of their folders */
  readonly #notes = new Map<string, ForgottenNote>();
  #unreadable: string | undefined;

  constructor(root: Directory, clock: Clock, log: Log) {
    this.#root = root;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Finds what lies there, and removes what is left of notes that were cleared, or that an adoption was killed before clearing. What cannot
   * be read is kept and told.
   */
  async load(volumes: Iterable<Pick<VolumeRecord, 'spec'>>): Promise<void> {
    if (!(await this.#root.exists(folderName))) return;
    await whileOpen(this.#root.openChild(folderName), async (folder) => {
      for (const name of await folder.names()) {
        try {
          const note = await whileOpen(folder.openChild(name), readNote);
          if (note === undefined) await removeRest(folder, name);
          else this.#notes.set(name, note);
        } catch (error) {
          const path = folder.pathOf(name);
          this.#unreadable = `${path} cannot be read: ${messageOf(error)}`;
          this.#log.error({ path, error: messageOf(error) }, 'note of a forgotten disk is kept unread');
        }
      }
    });
    for (const { spec } of volumes) {
      if (spec.disk === undefined) continue;
      await this.clear(spec.disk).catch((error: unknown) => {
        // only in the way of its next volume, and then a repeat of the adoption clears it
        this.#log.warn({ volumeId: spec.id, error: messageOf(error) }, 'note of a disk is not cleared');
      });
    }
  }

  all(): readonly ForgottenNote[] {
    return [...this.#notes.values()];
  }

  /** A note that was there and that nobody can read: any disk may be its. */
  get unreadable(): string | undefined {
    return this.#unreadable;
  }

  /**
   * Moves the folder of a record here. Durable when it resolves; killed before, it is where it was.
   *
   * @throws StorageError 'data-loss' where its record names no disk
   */
  async take(from: Directory, name: string): Promise<void> {
    const note = await whileOpen(from.openChild(name), readNote);
    if (note === undefined) {
      throw new StorageError(
        'data-loss',
        `${from.pathOf(name)} has no record, so that its disk would not be known again; restore it`,
      );
    }
    await whileOpen(this.#root.ensureChild(folderName, 0o700), async (folder) => {
      await this.#root.sync();
      const toName = await freeName(folder, note.spec.id, this.#clock.nowMs());
      try {
        await from.rename(name, folder, toName);
      } catch (error) {
        // moved, but perhaps not yet durably: the caller has to repeat
        if (await folder.exists(toName)) this.#notes.set(toName, note);
        throw error;
      }
      this.#notes.set(toName, note);
    });
  }

  /** Forgets that a disk was forgotten: it is a volume again. The record goes first; what is left without one is no note. */
  async clear({ type, uuid }: Pick<DiskPlace, 'type' | 'uuid'>): Promise<void> {
    const same = [...this.#notes].filter(([, { disk }]) => disk.type === type && disk.uuid === uuid);
    if (same.length === 0) return;
    await whileOpen(this.#root.openChild(folderName), async (folder) => {
      for (const [name] of same) {
        await whileOpen(folder.openChild(name), async (directory) => {
          await removeFile(directory, recordName);
          await directory.sync();
        });
        this.#notes.delete(name);
        await removeRest(folder, name);
      }
    });
    await removeIfEmpty(this.#root, folderName);
  }
}

/** Undefined where there is no record. @throws StorageError 'data-loss' */
async function readNote(directory: Directory): Promise<ForgottenNote | undefined> {
  const text = await readIfPresent(directory, recordName);
  if (text === undefined) return undefined;
  const path = directory.pathOf(recordName);
  const { spec, claim }: VolumeRecord = parseRecord(text, path);
  const { disk } = spec;
  if (disk === undefined) throw new StorageError('data-loss', `${path} names no disk; restore it`);
  return { spec, disk, ...(claim === undefined ? {} : { claim }) };
}

function removeRest(folder: Directory, name: string): Promise<unknown> {
  return removeTree(folder, name, { signal: AbortSignal.timeout(30_000), pace: unlimitedPace });
}

/** One volume may be here twice: its record, and what it was being emptied of. */
async function freeName(folder: Directory, id: string, nowMs: number): Promise<string> {
  for (let time = nowMs; ; time += 1) {
    const name = `${id}.${time}`;
    if (!(await folder.exists(name))) return name;
  }
}
