import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { ApiError, ApiUnreachable, isExpired } from './api-error.ts';
import { backOffMs, pause } from './back-off.ts';
import type { KindName, Kinds } from './kinds.ts';
import type { KubeApi, ListOptions, WatchEvent } from './kube-api.ts';
import { isAtLeast } from './resource-version.ts';
import type { Change, ObjectStore } from './store.ts';

const waits = { baseMs: 800, maxMs: 30_000 };
/**
 * Bookmarks come about once a minute, but not of a kind of which the API server has seen no change since it began: a watch without a
 * word for so long is either dead or has nothing to say, and another one tells which.
 */
const stallMs = 150_000;
/** How long a healthy kind may be without a word: until the watch that is opened after a stall is accepted. */
export const longestSilenceMs = stallMs + waits.maxMs;
/** A watch that ends sooner without an event was no watch; opening it again at once would be a loop. */
const shortWatchMs = 1_000;
/** How long news as fresh as a moment ago counts as live while the next watch is being opened. */
const openingGraceMs = 5_000;

export interface ReflectorOptions<K extends KindName> {
  readonly api: Pick<KubeApi, 'list' | 'watch'>;
  readonly kind: K;
  readonly list?: ListOptions;
  readonly store: ObjectStore<Kinds[K]>;
  /** keeps of an object what somebody reads; has to keep metadata's name, namespace, uid and resourceVersion */
  readonly project?: (object: Kinds[K]) => Kinds[K];
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Keeps a store equal to what the API server has of one kind: a list, then a watch for as long as it lasts, another watch from where it
 * ended, and a new list only where the server no longer knows that place.
 */
export class Reflector<K extends KindName> {
  readonly synced: Promise<void>;
  readonly #options: ReflectorOptions<K>;
  readonly #log: Log;
  readonly #sync = Promise.withResolvers<void>();
  #phase: 'stopped' | 'listing' | 'opening' | 'reopening' | 'open' | 'waiting' = 'stopped';
  #contactAtMs: number;
  /** where the next watch begins; unset: a list has to come first */
  #version: string | undefined;
  #failures = 0;
  /** since the last news a failure was that nobody answered */
  #wasAway = false;
  #isStarted = false;

  constructor(options: ReflectorOptions<K>) {
    this.#options = options;
    this.#log = options.log.child({ kind: options.kind });
    this.#contactAtMs = options.clock.nowMs();
    if (options.project !== undefined) options.store.projectWith(options.project);
    this.synced = this.#sync.promise;
    // who does not wait for it need not handle that it never came
    this.synced.catch(() => {});
  }

  /**
   * Called synchronously for every change of the store, the first list's objects and answers written through included, so register
   * before `start`. What a handler throws is logged.
   */
  onChange(handler: (change: Change<Kinds[K]>) => void): void {
    this.#options.store.onChange((change) => {
      try {
        handler(change);
      } catch (error) {
        const name = (change.current ?? change.previous)?.metadata.name;
        this.#log.error({ err: error, name }, 'a handler failed on a change');
      }
    });
  }

  /** Lists and watches until the signal aborts. `synced` rejects when that happens before the first list. */
  start(signal: AbortSignal): void {
    if (this.#isStarted) throw new Error(`the reflector of ${this.#options.kind} was started twice`);
    this.#isStarted = true;
    void this.#run(signal).then(() => {
      this.#phase = 'stopped';
      this.#sync.reject(signal.reason);
    });
  }

  /** Whether news arrive: the first list is done and a watch is open, or is being opened right after the last one or the list. */
  isLive(): boolean {
    return this.#phase === 'open' || (this.#phase === 'opening' && this.lastContactAgeMs() < openingGraceMs);
  }

  /** Since the server last said anything of this kind; never more than `longestSilenceMs` where all is well. */
  lastContactAgeMs(): number {
    return this.#options.clock.nowMs() - this.#contactAtMs;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list(signal);
        if (signal.aborted) return;
        await this.#watch(this.#version ?? '', signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#recover(error, signal);
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { api, kind, list = {}, store } = this.#options;
    this.#phase = 'listing';
    this.#count('loam_reflector_lists_total');
    const mark = store.mark();
    const page = await api.list(kind, list, signal);
    if (signal.aborted) return;
    store.replace(page, mark);
    this.#version = page.resourceVersion;
    this.#touch();
    this.#phase = 'opening';
    this.#sync.resolve();
  }

  /** One watch, until the server ends it. Returns when the next can begin at once. */
  async #watch(version: string, signal: AbortSignal): Promise<void> {
    const { api, kind, list, clock } = this.#options;
    this.#count('loam_reflector_watches_total');
    if (this.#phase !== 'opening') this.#phase = 'reopening';
    const startMs = clock.nowMs();
    const cut = new AbortController();
    const onAbort = () => cut.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const disarm = this.#cutWhenStalled(cut, startMs);
    let events = 0;
    try {
      const watch = api.watch(
        kind,
        {
          ...list,
          resourceVersion: version,
          timeoutSeconds: 300 + Math.floor(Math.random() * 300),
          onOpen: () => this.#opened(),
        },
        cut.signal,
      );
      for await (const event of watch) {
        if (signal.aborted) return;
        events += 1;
        this.#opened();
        this.#take(event);
      }
    } catch (error) {
      if (!(cut.signal.reason instanceof QuietWatch) || !this.isLive()) throw error;
      // no failure: its successor is opened at once, and says whether the server is there
      this.#log.debug({ err: messageOf(error) }, 'the watch was quiet; opening another');
      this.#phase = 'reopening';
      return;
    } finally {
      disarm();
      signal.removeEventListener('abort', onAbort);
    }
    if (events === 0 && clock.nowMs() - startMs < shortWatchMs)
      throw new Error('the watch ended as soon as it began');
    this.#touch();
    this.#phase = 'opening';
  }

  #take(event: WatchEvent<Kinds[K]>): void {
    this.#count('loam_reflector_events_total', event.type);
    if (event.type === 'ERROR') {
      const { code = 500, reason = 'Unknown', message = 'the watch ended with an error' } = event.object;
      // whatever it was, the server does not vouch for what follows: begin again
      this.#version = undefined;
      throw new ApiError(code, reason, message);
    }
    const version = event.object.metadata.resourceVersion;
    if (!isAtLeast(version, this.#version)) {
      // etcd was restored from a backup: all that we know may be wrong
      this.#version = undefined;
      throw new ApiError(410, 'Expired', `the watch went back to resourceVersion ${version}`);
    }
    [this.#failures, this.#wasAway] = [0, false];
    if (event.type !== 'BOOKMARK') this.#options.store.apply(event.type, event.object);
    this.#version = version ?? this.#version;
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    this.#phase = 'waiting';
    if (error instanceof ApiError && saysBeginAgain(error)) this.#version = undefined;
    // an API server that was away is back, and our place is too old for it: how long we waited for it is no reason to wait for the list
    if (isExpired(error) && this.#wasAway) [this.#failures, this.#wasAway] = [0, false];
    if (error instanceof ApiUnreachable) this.#wasAway = true;
    this.#failures += 1;
    this.#count('loam_reflector_failures_total');
    const isFirstExpiry = isExpired(error) && this.#failures === 1;
    const waitMs = isFirstExpiry ? 0 : Math.round(backOffMs(this.#failures, waits));
    const facts = { err: messageOf(error), relists: this.#version === undefined, waitMs };
    if (isFirstExpiry) this.#log.info(facts, 'the watch fell behind; listing again');
    else this.#log.warn(facts, 'the watch failed; trying again');
    if (waitMs > 0) await pause(this.#options.clock, waitMs, signal);
  }

  /** Ends a watch that brings nothing, not even bookmarks: its connection may be dead without either side having been told. */
  #cutWhenStalled(cut: AbortController, sinceMs: number): () => void {
    const { clock } = this.#options;
    let disarm = () => {};
    const arm = (delayMs: number) => {
      disarm = clock.after(delayMs, () => {
        const quietMs = clock.nowMs() - Math.max(sinceMs, this.#contactAtMs);
        if (quietMs < stallMs) arm(stallMs - quietMs);
        else cut.abort(new QuietWatch(quietMs));
      });
    };
    arm(stallMs);
    return () => disarm();
  }

  #opened(): void {
    this.#phase = 'open';
    this.#touch();
  }

  #touch(): void {
    const { clock, metrics, kind } = this.#options;
    this.#contactAtMs = clock.nowMs();
    metrics.gauge('loam_reflector_last_contact_timestamp_seconds', { kind }, this.#contactAtMs / 1000);
  }

  #count(name: string, type?: string): void {
    this.#options.metrics.count(name, { kind: this.#options.kind, ...(type !== undefined && { type }) });
  }
}

/** Why a watch was cut that brought nothing. */
class QuietWatch extends Error {
  constructor(quietMs: number) {
    super(`the watch brought nothing for ${Math.round(quietMs / 1000)} s`);
  }
}

/** Answers to a watch that the same watch would get again: its resourceVersion is too old, or none at all. */
function saysBeginAgain({ status }: ApiError): boolean {
  return status >= 400 && status < 500 && status !== 401 && status !== 403 && status !== 429;
}
