import { messageOf } from '../model/errors.ts';
import { ApiError } from './api-error.ts';
import { pause } from './back-off.ts';
import type { KindName, Kinds } from './kinds.ts';
import type { ListRequest, Page } from './kube-api.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import { type Change, keyOf } from './store.ts';

/** So often a kind is looked for that the cluster did not have; more often at first, since a cluster is set up in one go. */
const lookAgainMs = 60_000;
const soonMs = 10_000;
const looksAtFirst = 30;

/**
 * A reflector of a kind that the cluster may not have: custom resources that nobody installed, an API that an older server does not
 * serve, or one that we may not read. Then its store is empty, nothing is complained about more than once, and it is looked for again
 * each minute, and oftener in the first five: a kind that comes later is noticed, and one that is taken away is forgotten.
 */
export class OptionalReflector<K extends KindName> {
  /** Resolves when it is known whether the kind is served, and if so, when its objects were listed once. */
  readonly settled: Promise<void>;
  readonly #options: ReflectorOptions<K>;
  readonly #settle = Promise.withResolvers<void>();
  #reflector: Reflector<K> | undefined;
  #isServed = false;
  #wasEverServed = false;
  #isStarted = false;
  /** why it is not served, as last logged */
  #saidMissing = '';

  constructor(options: ReflectorOptions<K>) {
    this.#options = options;
    this.settled = this.#settle.promise;
    // who does not wait for it need not handle that it never came
    this.settled.catch(() => {});
  }

  /** As a Reflector's: register before `start`. Objects of a kind that is taken away are announced as gone. */
  onChange(handler: (change: Change<Kinds[K]>) => void): void {
    const { store, log, kind } = this.#options;
    store.onChange((change) => {
      try {
        handler(change);
      } catch (error) {
        const name = (change.current ?? change.previous)?.metadata.name;
        log.error({ err: error, kind, name }, 'a handler failed on a change');
      }
    });
  }

  /** Whether the API server has the kind and lets us read it, as far as it was asked. */
  isServed(): boolean {
    return this.#isServed;
  }

  /** Whether news arrive; false while the kind is not served. */
  isLive(): boolean {
    return this.#isServed && this.#reflector?.isLive() === true;
  }

  /** Lists and watches, or looks for the kind, until the signal aborts. `settled` rejects when that happens before anything is known. */
  start(signal: AbortSignal): void {
    if (this.#isStarted) throw new Error(`the reflector of ${this.#options.kind} was started twice`);
    this.#isStarted = true;
    void this.#run(signal).finally(() => this.#settle.reject(signal.reason));
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let looks = 1; !signal.aborted; looks += 1) {
      await this.#reflect(signal);
      const waitMs = looks <= looksAtFirst && !this.#wasEverServed ? soonMs : lookAgainMs;
      if (!signal.aborted) await pause(this.#options.clock, waitMs, signal);
    }
  }

  /** One reflector, until the kind turns out not to be served. */
  async #reflect(signal: AbortSignal): Promise<void> {
    const { api } = this.#options;
    const term = new AbortController();
    const end = (): void => term.abort(signal.reason);
    signal.addEventListener('abort', end, { once: true });
    const ended = new Promise<void>((resolve) => {
      term.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const list = async <L extends KindName>(
      kind: L,
      request: ListRequest<Kinds[L]>,
      asked: AbortSignal,
    ): Promise<Page<Kinds[L]>> => {
      try {
        const page = await api.list(kind, request, asked);
        this.#served();
        return page;
      } catch (error) {
        if (isMissing(error) && !asked.aborted) {
          term.abort(error);
          this.#missing(error);
        }
        throw error;
      }
    };
    const reflector = new Reflector<K>({
      ...this.#options,
      api: { list, watch: (kind, options, watched) => api.watch(kind, options, watched) },
    });
    this.#reflector = reflector;
    reflector.synced.then(
      () => this.#settle.resolve(),
      () => {},
    );
    reflector.start(term.signal);
    await ended;
    signal.removeEventListener('abort', end);
  }

  #served(): void {
    if (this.#isServed) return;
    if (this.#saidMissing !== '')
      this.#options.log.info({ kind: this.#options.kind }, 'the kind is there now');
    this.#saidMissing = '';
    this.#isServed = true;
    this.#wasEverServed = true;
  }

  #missing(error: ApiError): void {
    const { kind, log, store } = this.#options;
    const why = messageOf(error);
    if (this.#saidMissing !== why) {
      const text = 'the cluster does not serve this kind to us; looking for it each minute';
      if (error.status === 404) log.info({ kind }, text);
      else log.warn({ kind, err: why }, text);
    }
    this.#saidMissing = why;
    this.#isServed = false;
    for (const object of store.list()) store.remove(keyOf(object));
    this.#settle.resolve();
  }
}

/** Answers that say that there is nothing to read here for us, whatever the network does. */
function isMissing(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.status === 404 || error.status === 403);
}
