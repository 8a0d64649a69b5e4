import { createHash } from 'node:crypto';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { toldText } from '../model/told-text.ts';
import { ApiError, isAlreadyExists, isNotFound } from './api-error.ts';
import { backOffMs, pause } from './back-off.ts';
import { apiVersionOf, type KindName } from './kinds.ts';
import type { KubeApi } from './kube-api.ts';
import type { KubeEvent, KubeObject } from './objects.ts';

/** The same text again within this time is one Event with a higher count. */
const sameWithinMs = 10 * 60_000;
const mostRemembered = 1_024;
const mostWaiting = 512;
const tries = 4;
const waits = { baseMs: 500, maxMs: 8_000 };

interface EventRecorderOptions {
  readonly api: KubeApi;
  readonly component: string;
  readonly host: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where Events are told: the recorder, as its users need it. */
export interface EventSink<Reason extends string = string> {
  record(
    involved: { readonly kind: KindName; readonly object: KubeObject },
    type: 'Normal' | 'Warning',
    reason: Reason,
    message: string,
  ): void;
}

/** One text about one object: what the server has of it, and what it should have. */
interface Entry {
  readonly event: KubeEvent;
  /** 0: not created yet */
  toldCount: number;
  count: number;
  lastAtMs: number;
}

/**
 * Events on objects, for people. Told in the background, one at a time and best effort: who records never waits and never hears of a
 * failure; what cannot be told within a few tries, or is too much, is dropped and counted.
 */
export class EventRecorder implements EventSink {
  readonly #options: EventRecorderOptions;
  readonly #remembered = new Map<string, Entry>();
  readonly #waiting = new Set<Entry>();
  readonly #cut = new AbortController();
  #sending: Promise<void> | undefined;
  #dropped = 0;
  #isDropping = false;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Events that were given up since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  record(
    involved: { readonly kind: KindName; readonly object: KubeObject },
    type: 'Normal' | 'Warning',
    reason: string,
    text: string,
  ): void {
    // what reads the same is the same, and no key is longer than what is told
    const message = toldText(text);
    const nowMs = this.#options.clock.nowMs();
    const { uid = '', name, namespace = '' } = involved.object.metadata;
    const key = JSON.stringify([involved.kind, namespace, name, uid, type, reason, message]);
    const known = this.#remembered.get(key);
    if (known !== undefined && nowMs - known.lastAtMs < sameWithinMs) {
      known.count += 1;
      known.lastAtMs = nowMs;
      this.#send(known);
      return;
    }
    const event = this.#eventOf(involved, type, reason, message, key, nowMs);
    const entry: Entry = { event, toldCount: 0, count: 1, lastAtMs: nowMs };
    this.#remember(key, entry);
    this.#send(entry);
  }

  /** Resolves when all that was recorded is told or given up; when the signal aborts, the rest is given up. */
  async flush(signal: AbortSignal): Promise<void> {
    const onAbort = () => this.#cut.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    while (this.#sending !== undefined) await this.#sending;
    signal.removeEventListener('abort', onAbort);
  }

  #eventOf(
    { kind, object }: { readonly kind: KindName; readonly object: KubeObject },
    type: 'Normal' | 'Warning',
    reason: string,
    message: string,
    key: string,
    nowMs: number,
  ): KubeEvent {
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const { component, host } = this.#options;
    // the same after a repeat whose first answer got lost, another for every new Event
    const hash = createHash('sha256').update(`${key} ${host} ${nowMs}`).digest('hex').slice(0, 16);
    const at = new Date(nowMs).toISOString();
    return {
      // what is cluster-wide has its Events in default, where kubectl describe looks for them
      metadata: { name: `${startOfName(name)}.${hash}`, namespace: namespace ?? 'default' },
      involvedObject: {
        apiVersion: apiVersionOf(kind),
        kind,
        name,
        ...(namespace !== undefined && { namespace }),
        ...(uid !== undefined && { uid }),
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
      type,
      reason,
      message,
      source: { component, host },
      reportingComponent: component,
      reportingInstance: host,
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    };
  }

  #remember(key: string, entry: Entry): void {
    this.#remembered.delete(key);
    this.#remembered.set(key, entry);
    if (this.#remembered.size <= mostRemembered) return;
    for (const oldest of this.#remembered.keys()) {
      this.#remembered.delete(oldest);
      return;
    }
  }

  #send(entry: Entry): void {
    if (this.#waiting.size >= mostWaiting && !this.#waiting.has(entry)) {
      this.#drop(entry, 'too many events are waiting');
      return;
    }
    this.#waiting.add(entry);
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Never rejects. */
  async #sendAll(): Promise<void> {
    for (const entry of this.#waiting) {
      // first, so that a repeat recorded meanwhile puts it back at the end
      this.#waiting.delete(entry);
      await this.#sendOne(entry);
    }
  }

  async #sendOne(entry: Entry): Promise<void> {
    const { signal } = this.#cut;
    for (let failures = 1; !signal.aborted; failures += 1) {
      try {
        await this.#tell(entry, signal);
        this.#isDropping = false;
        return;
      } catch (error) {
        if (isHopeless(error)) {
          this.#ignore(entry, error);
          return;
        }
        if (failures >= tries) {
          this.#drop(entry, messageOf(error));
          return;
        }
        await pause(this.#options.clock, backOffMs(failures, waits), signal);
      }
    }
    this.#drop(entry, 'the process is ending');
  }

  async #tell(entry: Entry, signal: AbortSignal): Promise<void> {
    const { api } = this.#options;
    const { event, count } = entry;
    const now = { count, lastTimestamp: new Date(entry.lastAtMs).toISOString() };
    if (entry.toldCount > 0) {
      try {
        await api.patch('Event', event.metadata, { type: 'merge', body: now }, signal);
        entry.toldCount = count;
        return;
      } catch (error) {
        // the server keeps Events for an hour or so: told anew under the same name
        if (!isNotFound(error)) throw error;
        entry.toldCount = 0;
      }
    }
    try {
      await api.create('Event', { ...event, ...now }, signal);
    } catch (error) {
      // an earlier try of ours, whose answer was lost
      if (!isAlreadyExists(error)) throw error;
    }
    entry.toldCount = count;
  }

  /** The object's namespace is gone or going: nobody is left to read it. */
  #ignore({ event }: Entry, error: ApiError): void {
    const facts = { reason: event.reason, object: event.involvedObject.name, err: error.message };
    if (error.status === 404 || error.message.includes('being terminated')) {
      this.#options.log.debug(facts, 'an event was not wanted any more');
    } else {
      this.#options.log.warn(facts, 'the API server refused an event');
    }
  }

  /** Says so once, until one gets through again. */
  #drop({ event }: Entry, why: string): void {
    this.#dropped += 1;
    if (this.#isDropping) return;
    this.#isDropping = true;
    const facts = { reason: event.reason, object: event.involvedObject.name, why, dropped: this.#dropped };
    this.#options.log.warn(facts, 'events are being dropped');
  }
}

/** So much of an object's name that with a dot and 16 digits it is one still: no part of a name ends in a dash, or is empty. */
function startOfName(name: string): string {
  return name.slice(0, 230).replace(/[-.]+$/, '');
}

/** Answers that another try would get too. */
function isHopeless(error: unknown): error is ApiError {
  return error instanceof ApiError && [400, 403, 404, 422].includes(error.status);
}
