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
  readonly path: string;
  /** when it was given up; unset where the note's name does not say so any more */
  readonly sinceMs?: number;
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
  /** by the same names: why */
  readonly #unreadable = new Map<string, string>();

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
          const record = await whileOpen(folder.openChild(name), readNote);
          if (record === undefined) await removeRest(folder, name);
          else this.#notes.set(name, noteOf(folder, name, record));
        } catch (error) {
          const path = folder.pathOf(name);
          this.#unreadable.set(name, `${path} cannot be read: ${messageOf(error)}`);
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

  /** Notes that were there at the start and that nobody can read, by their folders' names, with why: any disk may be theirs. */
  get unreadable(): ReadonlyMap<string, string> {
    return this.#unreadable;
  }

  /**
   * Moves the folder of a record here. Durable when it resolves; killed before, it is where it was.
   *
   * @throws StorageError 'data-loss' where its record names no disk
   */
  async take(from: Directory, name: string): Promise<void> {
    const record = await whileOpen(from.openChild(name), readNote);
    if (record === undefined) {
      throw new StorageError(
        'data-loss',
        `${from.pathOf(name)} has no record, so that its disk would not be known again; restore it`,
      );
    }
    await whileOpen(this.#root.ensureChild(folderName, 0o700), async (folder) => {
      await this.#root.sync();
      const toName = await freeName(folder, record.spec.id, this.#clock.nowMs());
      const note = noteOf(folder, toName, record);
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

  /**
   * Forgets that a disk was forgotten: it is a volume again. The record goes first; what is left without one is no note. One that somebody
   * has removed by hand meanwhile is cleared already.
   */
  async clear({ type, uuid }: Pick<DiskPlace, 'type' | 'uuid'>): Promise<void> {
    const same = [...this.#notes].filter(([, { disk }]) => disk.type === type && disk.uuid === uuid);
    if (same.length === 0) return;
    if (await this.#root.exists(folderName)) {
      await whileOpen(this.#root.openChild(folderName), async (folder) => {
        for (const [name] of same) {
          if (!(await folder.exists(name))) continue;
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
    for (const [name] of same) this.#notes.delete(name);
  }
}

type NoteRecord = Pick<ForgottenNote, 'spec' | 'disk' | 'claim'>;

function noteOf(folder: Directory, name: string, record: NoteRecord): ForgottenNote {
  const [, time] = /\.(\d{1,15})$/.exec(name) ?? [];
  return {
    ...record,
    path: folder.pathOf(name),
    ...(time === undefined ? {} : { sinceMs: Number(time) }),
  };
}

/** Undefined where there is no record. @throws StorageError 'data-loss' */
async function readNote(directory: Directory): Promise<NoteRecord | undefined> {
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
