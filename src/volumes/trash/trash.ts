import { errorCode } from '../../host/descriptor.ts';
import type { Directory } from '../../host/directory.ts';
import type { Pace } from '../../host/pace.ts';
import type { Clock } from '../../model/clock.ts';
import { StorageError, messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { describeEntry, nounOf, type EntryId } from '../../model/snapshot-id.ts';
import { destroyEntry, type DestroyElsewhere } from './destroy-entry.ts';
import type { DoomedRecord } from '../records/entry-record.ts';
import { briefPace, TakesLong } from './brief-pace.ts';
import { politePace, type GiveWay } from './give-way.ts';
import { readEntry } from './read-entry.ts';
import { RemovalWaiters } from './removal-waiters.ts';
import {
  backOffMs,
  entryName,
  methodOf,
  parseEntryName,
  type EntryRecord,
  type TrashEntry,
} from './trash-entry.ts';

export interface TrashOptions {
  /** the pool's root */
  readonly pool: Directory;
  /** the pool's name in metrics; unset: its path */
  readonly poolName?: string;
  readonly pace: Pace;
  /** waits, for a moment, while calls are under way; unset: nobody is waited for */
  readonly giveWay?: GiveWay;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** lets go of what still holds an entry, such as a loop device */
  readonly beforeRemove?: (
    entryPath: string,
    record: DoomedRecord | undefined,
    signal: AbortSignal,
  ) => Promise<void>;
  /** destroys data of an entry that lies elsewhere than in it */
  readonly destroyElsewhere?: DestroyElsewhere;
  /** whether there are snapshots or clones in the pool; unset: none */
  readonly hasCopies?: () => boolean;
  /** takes apart what cannot be removed file by file, once it was erased */
  readonly discard?: (
    entryPath: string,
    record: DoomedRecord | undefined,
    signal: AbortSignal,
  ) => Promise<void>;
}

interface Entry {
  readonly id: EntryId;
  readonly name: string;
  readonly sinceMs: number;
  found: EntryRecord;
  /** found out at the first try in this process: then small ones do not wait for it */
  takesLong: boolean;
  attempts: number;
  /** who has it in hand, if anybody: an attempt, or who gives it up */
  inHand: 'to destroy' | 'to give up' | undefined;
  failure: StorageError | undefined;
  /** ends the wait before the next attempt; unset while there is none */
  cancelRetry: (() => void) | undefined;
}

/**
 * Scrubs take as long as their disk needs; what is only to be removed does not queue behind them. And nothing small queues behind a
 * large tree or image: what takes long is put off to a lane of its own kind, and goes on there where it was.
 */
type Lane = TrashEntry['method'] | `long ${TrashEntry['method']}`;

const trashName = 'trash';

/**
 * A pool's deleted volumes and snapshots, until their bytes are gone. A deletion is one rename into `<pool>/trash`, which is private; the
 * rest happens in the background, one entry at a time in each lane, and goes on after a crash: whatever lies in the trash is
 * to be destroyed, and its record, which goes last, says how.
 */
export class Trash {
  readonly #options: TrashOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #queues: Record<Lane, Entry[]> = {
    delete: [],
    scrub: [],
    'long delete': [],
    'long scrub': [],
  };
  readonly #busy = new Set<Lane>();
  readonly #running = new Map<Lane, Promise<void>>();
  readonly #waiters = new RemovalWaiters();
  readonly #listeners = new Set<(id: string) => void>();
  readonly #stopping = new AbortController();
  readonly #signal: AbortSignal;
  #directory: Promise<Directory> | undefined;
  #lastMs = 0;

  constructor(options: TrashOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stopping.signal]);
    // callers hear at once that nothing more happens, so that a shutdown need not wait for them
    this.#signal.addEventListener('abort', () => this.#waiters.rejectAll(stopped()), { once: true });
  }

  /** Finds what an earlier process left and goes on with it. Names that are not ours are reported and left alone. */
  async load(): Promise<void> {
    const trash = await this.#open();
    for (const name of await trash.names()) {
      const parts = parseEntryName(name);
      if (parts === undefined) {
        this.#options.log.warn({ path: trash.pathOf(name) }, 'unknown entry in the trash is left alone');
      } else if (!this.#entries.has(name)) {
        this.#lastMs = Math.max(this.#lastMs, parts.timeMs);
        this.#add({ ...parts, name, found: await readEntry(trash, name, parts.id) });
      }
    }
    for (const entry of this.#entries.values()) this.#enqueue(entry);
  }

  /**
   * Moves the directory of a volume or snapshot into the trash: once this resolves it survives any crash that it is deleted. One
   * that is not there (any more) is fine. Several deleted ones of one id may lie here at once.
   * @param name of the directory; unset: the id
   */
  async take(folder: Directory, id: EntryId, name: string = id): Promise<void> {
    this.#signal.throwIfAborted();
    const trash = await this.#open();
    const found = await readEntry(folder, name, id);
    this.#lastMs = Math.max(this.#lastMs + 1, this.#options.clock.nowMs());
    // known from before the move on, so that at no time the id is in neither place
    const entry = this.#add({ id, name: entryName(id, this.#lastMs), timeMs: this.#lastMs, found });
    try {
      await folder.rename(name, trash, entry.name);
    } catch (error) {
      const failure = StorageError.from(
        error,
        `moving ${describeEntry(id)} to the trash of ${this.#options.pool.realPath}`,
      );
      if (await trash.exists(entry.name)) {
        // moved, but perhaps not yet durably: the work may begin, the caller has to repeat
        this.#enqueue(entry);
        throw failure;
      }
      this.#forget(entry);
      const isGone = errorCode(error) === 'ENOENT' && !(await folder.exists(name));
      if (!isGone) {
        this.#waiters.reject(id, failure);
        throw failure;
      }
      if (!this.holds(id)) this.#waiters.resolve(id);
      return;
    }
    this.#enqueue(entry);
  }

  holds(id: string): boolean {
    return this.#of(id).length > 0;
  }

  /**
   * Resolves when nothing of this id is left; at once where nothing is.
   * @throws StorageError of the attempt that failed, or of the last one where the next is still being waited for; the
   *   signal's reason; 'cancelled' when the trash is stopped
   */
  async whenRemoved(id: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const entries = this.#of(id);
    if (entries.length === 0) return;
    const failed = entries.find((entry) => entry.cancelRetry !== undefined)?.failure;
    if (failed !== undefined) throw failed;
    if (this.#signal.aborted) throw stopped();
    await this.#waiters.wait(id, signal);
  }

  /** Calls back with the id of a volume or snapshot when nothing of it is left. Returns how to stop listening. */
  onRemoved(listener: (id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Names of what lies here and was not put here by a deletion; read now, since nothing tells of it. It is never touched. */
  async unknownNames(): Promise<readonly string[]> {
    this.#signal.throwIfAborted();
    const trash = await this.#open();
    return (await trash.names()).filter((name) => parseEntryName(name) === undefined);
  }

  /** What those that still lie here count for. */
  usedBytes(): bigint {
    return this.entries().reduce((sum, entry) => sum + entry.promisedBytes, 0n);
  }

  entries(): readonly TrashEntry[] {
    return [...this.#entries.values()].map(({ id, name, sinceMs, found, attempts, failure }) => ({
      id,
      name,
      sinceMs,
      method: methodOf(found).kind,
      promisedBytes: found.kind === 'read' ? found.record.promisedBytes : 0n,
      ...(found.kind === 'read' ? { spec: found.record.spec } : {}),
      isUnreadable: found.kind === 'unreadable',
      attempts,
      ...(failure === undefined ? {} : { failure }),
    }));
  }

  /**
   * Has an entry moved out that cannot be destroyed. Where that fails it is tried again here, as before.
   * @throws StorageError 'busy' while it is being destroyed; what `move` throws
   */
  async giveUp(name: string, move: (trash: Directory) => Promise<void>): Promise<void> {
    const trash = await this.#open();
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    if (entry.inHand !== undefined)
      throw new StorageError('busy', `${name} in the trash is being worked on; repeat in a moment`);
    entry.inHand = 'to give up';
    entry.cancelRetry?.();
    try {
      await move(trash);
    } finally {
      entry.inHand = undefined;
      if (await trash.exists(name).catch(() => true)) this.#enqueue(entry);
      else this.#ended(entry);
    }
  }

  /** Ends the background work; what is left goes on after the next `load`. */
  async stop(): Promise<void> {
    this.#stopping.abort(stopped());
    for (const entry of this.#entries.values()) entry.cancelRetry?.();
    await Promise.all(this.#running.values());
    const directory = await this.#directory?.catch(() => undefined);
    this.#directory = undefined;
    await directory?.close();
  }

  async #work(lane: Lane): Promise<void> {
    const queue = this.#queues[lane];
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
      if (this.#signal.aborted) break;
      // queued, and given up or gone since
      if (entry.inHand !== undefined || this.#entries.get(entry.name) !== entry) continue;
      await this.#attempt(entry);
    }
    // in the same breath as the last look at the queue, or an entry added in between would wait for ever
    this.#busy.delete(lane);
  }

  /** No pod can share the blocks of an image; within a directory it can, and then nothing of it would be left to anybody. */
  #mayShare({ found }: Entry): boolean {
    if (found.kind === 'read' && found.record.spec.backend === 'loopback') return true;
    if (this.#options.hasCopies?.() === true) return true;
    return [...this.#entries.values()].some(
      (other) => other.found.kind === 'read' && other.found.record.isCopy,
    );
  }

  #paceOf({ takesLong }: Entry): Pace {
    const { pace, giveWay } = this.#options;
    if (!takesLong) return briefPace(pace);
    return giveWay === undefined ? pace : politePace(pace, giveWay);
  }

  async #attempt(entry: Entry): Promise<void> {
    const { beforeRemove, discard, destroyElsewhere } = this.#options;
    const log = this.#logOf(entry);
    entry.attempts += 1;
    entry.inHand = 'to destroy';
    try {
      const trash = await this.#open();
      // somebody may have mended it meanwhile
      if (entry.found.kind === 'unreadable') entry.found = await readEntry(trash, entry.name, entry.id);
      await destroyEntry(trash, entry.name, {
        found: entry.found,
        pace: this.#paceOf(entry),
        log,
        signal: this.#signal,
        beforeRemove,
        destroyElsewhere,
        discard,
        mayShare: this.#mayShare(entry),
      });
    } catch (error) {
      entry.inHand = undefined;
      if (error instanceof TakesLong) {
        entry.attempts -= 1;
        entry.takesLong = true;
        this.#enqueue(entry);
      } else if (!this.#signal.aborted)
        this.#failed(entry, StorageError.from(error, `removing ${entry.name}`));
      return;
    }
    const method = methodOf(entry.found).kind;
    this.#options.metrics.count('loam_trash_removed_total', { ...this.#labels(), method });
    this.#ended(entry);
  }

  #ended(entry: Entry): void {
    this.#forget(entry);
    if (this.holds(entry.id)) return;
    this.#waiters.resolve(entry.id);
    for (const listener of this.#listeners) this.#tell(listener, entry, this.#logOf(entry));
  }

  #tell(listener: (id: string) => void, entry: Entry, log: Log): void {
    try {
      listener(entry.id);
    } catch (error) {
      log.error({ error: messageOf(error) }, 'a listener for removed volumes failed');
    }
  }

  #failed(entry: Entry, failure: StorageError): void {
    const delayMs = backOffMs(entry.attempts);
    entry.failure = failure;
    this.#logOf(entry).warn(
      { error: failure.message, reason: failure.reason, attempts: entry.attempts, retryInMs: delayMs },
      `deleted ${nounOf(entry.id)} could not be removed yet`,
    );
    this.#options.metrics.count('loam_trash_failures_total', { ...this.#labels(), reason: failure.reason });
    entry.cancelRetry = this.#options.clock.after(delayMs, () => this.#enqueue(entry));
    this.#waiters.reject(entry.id, failure);
  }

  #enqueue(entry: Entry): void {
    if (this.#signal.aborted) return;
    entry.cancelRetry = undefined;
    const method = methodOf(entry.found).kind;
    const lane = entry.takesLong ? (`long ${method}` as const) : method;
    this.#queues[lane].push(entry);
    if (this.#busy.has(lane)) return;
    this.#busy.add(lane);
    this.#running.set(lane, this.#work(lane));
  }

  #add(parts: { id: EntryId; name: string; timeMs: number; found: EntryRecord }): Entry {
    const { id, name, timeMs: sinceMs, found } = parts;
    const entry: Entry = {
      id,
      name,
      sinceMs,
      found,
      takesLong: false,
      attempts: 0,
      inHand: undefined,
      failure: undefined,
      cancelRetry: undefined,
    };
    this.#entries.set(name, entry);
    this.#measure();
    if (found.kind === 'unreadable') {
      this.#logOf(entry).warn(
        { error: found.why },
        `record of a deleted ${nounOf(id)} is damaged: it is scrubbed`,
      );
    }
    return entry;
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.name);
    this.#measure();
  }

  #of(id: string): Entry[] {
    return [...this.#entries.values()].filter((entry) => entry.id === id);
  }

  #open(): Promise<Directory> {
    this.#directory ??= this.#options.pool.ensureChild(trashName, 0o700).catch((error: unknown) => {
      this.#directory = undefined;
      throw StorageError.from(error, `opening the trash of ${this.#options.pool.realPath}`);
    });
    return this.#directory;
  }

  #labels(): { readonly pool: string } {
    return { pool: this.#options.poolName ?? this.#options.pool.realPath };
  }

  #measure(): void {
    this.#options.metrics.gauge('loam_trash_entries', this.#labels(), this.#entries.size);
  }

  #logOf(entry: Entry): Log {
    return this.#options.log.child({ volume: entry.id, trashEntry: entry.name });
  }
}

function stopped(): StorageError {
  return new StorageError(
    'cancelled',
    'the trash is being stopped; what is left in it is removed after the next start',
  );
}
