import type { KindName } from '../kube/kinds.ts';
import { apiVersionOf } from '../kube/kinds.ts';
import type { Clock } from '../model/clock.ts';
import { ApiFailure, badRequest } from './api-failure.ts';
import { type Change, leftBehind } from './history.ts';
import { selectorsOf } from './lists.ts';
import type { ObjectStorage } from './object-storage.ts';
import type { ResourceRequest } from './request.ts';
import { parseSelectors, type Predicate } from './selectors.ts';
import { jsonOf, type StoredObject } from './stored-object.ts';

/** How an event's object is written: the object itself, or a Table with one row. */
export type EventEncoder = (object: StoredObject) => string;

/** Where a watch's lines go; one that is not open any more is told nothing. */
export interface WatchSink {
  write(line: string): void;
  end(): void;
  /** ends it as a broken connection does */
  abort(): void;
}

interface OpenWatch {
  readonly kind: KindName;
  readonly close: (how?: 'end' | 'abort') => void;
  readonly flush: () => void;
}

/** All open watches. */
export class Watches {
  readonly #storage: ObjectStorage;
  readonly #clock: Clock;
  readonly #bookmarkPeriodMs: number;
  readonly #areStalled: () => boolean;
  readonly #open = new Set<OpenWatch>();

  constructor(options: {
    storage: ObjectStorage;
    clock: Clock;
    bookmarkPeriodMs: number;
    areStalled: () => boolean;
  }) {
    this.#storage = options.storage;
    this.#clock = options.clock;
    this.#bookmarkPeriodMs = options.bookmarkPeriodMs;
    this.#areStalled = options.areStalled;
  }

  /**
   * Sends events until the time asked for is over, the server closes it, or the returned function is called.
   * A resourceVersion that is too old is answered within the stream, as API servers do.
   * @throws ApiFailure 400 on a request that cannot be read
   */
  start(request: ResourceRequest, sink: WatchSink, encode: EventEncoder = jsonOf): () => void {
    const { kind } = request.resource;
    const matches = parseSelectors(request.resource, selectorsOf(request));
    const from = request.query.get('resourceVersion') ?? '';
    if (!/^\d*$/.test(from)) throw badRequest(`invalid resource version: ${JSON.stringify(from)}`);
    const withInitial = request.query.get('sendInitialEvents') === 'true';
    const withBookmarks = ['1', 'true'].includes(request.query.get('allowWatchBookmarks') ?? '');
    const waiting: string[] = [];
    const flush = (): void => {
      if (!this.#areStalled()) for (const line of waiting.splice(0)) sink.write(line);
    };
    const send = (line: string): void => {
      waiting.push(line);
      flush();
    };
    const sendChange = (change: Change): void => {
      const line = change.kind === kind ? changeLine(change, matches, encode) : undefined;
      if (line !== undefined) send(line);
    };
    const bookmark = (annotations?: object): void => send(this.#bookmarkLine(kind, annotations));
    try {
      if (withInitial || from === '' || from === '0') {
        for (const object of this.#storage.sorted(kind))
          if (matches(object)) send(eventLine('ADDED', encode(object)));
        if (withInitial && withBookmarks) bookmark({ 'k8s.io/initial-events-end': 'true' });
      } else {
        for (const change of this.#storage.history.since(Number(from))) sendChange(change);
      }
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      sink.write(eventLine('ERROR', JSON.stringify(error.body)));
      sink.end();
      return () => {};
    }
    return this.#keepOpen(
      kind,
      sink,
      { flush, sendChange, bookmark: withBookmarks ? bookmark : () => {} },
      timeoutMsOf(request),
    );
  }

  /** Breaks the watches of a kind, or all. @returns how many */
  drop(kind?: KindName): number {
    const dropped = [...this.#open].filter((watch) => kind === undefined || watch.kind === kind);
    for (const watch of dropped) watch.close('abort');
    return dropped.length;
  }

  /** Sends what was held back while watches were stalled. */
  flush(): void {
    for (const watch of this.#open) watch.flush();
  }

  get count(): number {
    return this.#open.size;
  }

  #keepOpen(
    kind: KindName,
    sink: WatchSink,
    to: { flush: () => void; sendChange: (change: Change) => void; bookmark: () => void },
    timeoutMs: number,
  ): () => void {
    const unsubscribe = this.#storage.history.subscribe(to.sendChange);
    let cancelBookmark = (): void => {};
    const bookmarkLater = (): void => {
      cancelBookmark = this.#clock.after(this.#bookmarkPeriodMs, () => {
        to.bookmark();
        bookmarkLater();
      });
    };
    bookmarkLater();
    const close = (how: 'end' | 'abort' = 'end'): void => {
      if (!this.#open.delete(watch)) return;
      unsubscribe();
      cancelBookmark();
      cancelEnd();
      sink[how]();
    };
    const cancelEnd = this.#clock.after(timeoutMs, () => {
      to.bookmark();
      close();
    });
    const watch: OpenWatch = { kind, close, flush: to.flush };
    this.#open.add(watch);
    return () => close();
  }

  #bookmarkLine(kind: KindName, annotations?: object): string {
    const metadata = {
      resourceVersion: String(this.#storage.revision),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    };
    return eventLine('BOOKMARK', JSON.stringify({ kind, apiVersion: apiVersionOf(kind), metadata }));
  }
}

function eventLine(type: string, objectText: string): string {
  return `{"type":"${type}","object":${objectText}}\n`;
}

/** An object that comes into or goes out of the selection is added or deleted, as far as this watch can see. */
function changeLine(change: Change, matches: Predicate, encode: EventEncoder): string | undefined {
  const isIn = matches(change.object);
  const wasIn = change.previous !== undefined && matches(change.previous);
  if (change.type === 'DELETED')
    return wasIn || isIn ? eventLine('DELETED', encode(change.object)) : undefined;
  if (isIn) return eventLine(wasIn ? 'MODIFIED' : 'ADDED', encode(change.object));
  return wasIn ? eventLine('DELETED', encode(leftBehind(change))) : undefined;
}

function timeoutMsOf(request: ResourceRequest): number {
  const seconds = Number(request.query.get('timeoutSeconds') ?? '0');
  return (seconds > 0 ? seconds : 1800 + Math.random() * 1800) * 1000;
}
