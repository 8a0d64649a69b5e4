import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { type BackOffRange, backOffMs } from './back-off.ts';
import { QueueMetrics } from './queue-metrics.ts';
import { Wakeups } from './wakeups.ts';

export type Outcome =
  | { readonly kind: 'done' }
  /** `afterMs` unset: exponential back-off */
  | { readonly kind: 'retry'; readonly afterMs?: number };

interface WorkQueueOptions {
  readonly name: string;
  /** The key is all that it gets: it looks up what is, and makes it what it should be. Throwing means retry with back-off. */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Outcome>;
  readonly workers: number;
  readonly backoff: BackOffRange;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Keys to be worked on, each once however often it was added, and never by two workers at a time.
 *
 * A key added while it is being worked on is worked on again afterwards, so that no news is lost; one added while it waits for a retry
 * goes at once. What is in the queue is bounded by the number of distinct keys.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #metrics: QueueMetrics;
  /** in the order of their turn */
  readonly #ready = new Set<string>();
  readonly #running = new Set<string>();
  /** running, and added meanwhile */
  readonly #again = new Set<string>();
  readonly #retries: Wakeups;
  readonly #delayed: Wakeups;
  readonly #failures = new Map<string, number>();
  readonly #drained = Promise.withResolvers<void>();
  #signal: AbortSignal | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#metrics = new QueueMetrics(options.name, options.metrics, options.clock);
    this.#retries = new Wakeups(options.clock, (key) => this.#retry(key));
    this.#delayed = new Wakeups(options.clock, (key) => this.add(key));
  }

  /** keys whose turn has not come; those that wait for a retry or a delay do not count */
  get depth(): number {
    return this.#ready.size + this.#again.size;
  }

  /** Has the key worked on now, or as soon as the worker that has it is done. */
  add(key: string): void {
    if (this.#signal?.aborted === true) return;
    this.#retries.cancel(key);
    if (this.#ready.has(key) || this.#again.has(key)) return;
    this.#metrics.added(key);
    (this.#running.has(key) ? this.#again : this.#ready).add(key);
    this.#pump();
  }

  /** Has the key worked on in a while too, whatever happens to it before; of several delays the shortest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#signal?.aborted === true) return;
    if (delayMs <= 0) this.add(key);
    else this.#delayed.set(key, delayMs);
  }

  /** Lets the key's next failure be its first. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Begins to work. Once the signal aborts nothing new is begun, and what waits is dropped. */
  start(signal: AbortSignal): void {
    if (this.#signal !== undefined) throw new Error(`the queue ${this.#options.name} was started twice`);
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#stop(), { once: true });
    if (signal.aborted) this.#stop();
    this.#pump();
  }

  /** Resolves when the signal has aborted and the last worker has put down its key. */
  idle(): Promise<void> {
    return this.#drained.promise;
  }

  /** Sets the gauges that are worth computing only when somebody reads them. */
  measure(): void {
    this.#metrics.measure();
  }

  #pump(): void {
    const signal = this.#signal;
    if (signal !== undefined && !signal.aborted) {
      for (const key of this.#ready) {
        if (this.#running.size >= this.#options.workers) break;
        this.#ready.delete(key);
        this.#running.add(key);
        void this.#work(key, signal);
      }
    }
    this.#metrics.depth(this.depth);
  }

  /** Never rejects. */
  async #work(key: string, signal: AbortSignal): Promise<void> {
    this.#metrics.started(key);
    const outcome = await this.#attempt(key, signal);
    this.#metrics.finished(key);
    this.#running.delete(key);
    if (signal.aborted) {
      if (this.#running.size === 0) this.#drained.resolve();
      return;
    }
    this.#settle(key, outcome);
    this.#pump();
  }

  async #attempt(key: string, signal: AbortSignal): Promise<Outcome> {
    // not within add(): its caller may be in the middle of a change that the reconciler would see half of
    await Promise.resolve();
    if (signal.aborted) return { kind: 'done' };
    try {
      return await this.#options.reconcile(key, signal);
    } catch (error) {
      if (!signal.aborted) {
        const { name, log } = this.#options;
        log.warn(
          { err: error, queue: name, key, failures: (this.#failures.get(key) ?? 0) + 1 },
          'reconciling failed',
        );
      }
      return { kind: 'retry' };
    }
  }

  #settle(key: string, outcome: Outcome): void {
    if (outcome.kind === 'done') this.forget(key);
    const waitMs = outcome.kind === 'retry' ? (outcome.afterMs ?? this.#backOff(key)) : undefined;
    if (this.#again.delete(key)) this.#ready.add(key);
    else if (waitMs !== undefined) this.#retries.set(key, waitMs);
  }

  #backOff(key: string): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    return backOffMs(failures, this.#options.backoff);
  }

  #retry(key: string): void {
    this.#metrics.retried();
    this.add(key);
  }

  #stop(): void {
    this.#retries.clear();
    this.#delayed.clear();
    this.#ready.clear();
    this.#again.clear();
    this.#failures.clear();
    this.#metrics.depth(0);
    if (this.#running.size === 0) this.#drained.resolve();
  }
}
