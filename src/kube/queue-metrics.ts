import type { Clock } from '../model/clock.ts';
import type { Metrics } from '../model/metrics.ts';

/** What a work queue tells about itself, under the names that client-go gave it and dashboards know. */
export class QueueMetrics {
  readonly #labels: { readonly name: string };
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #addedAtMs = new Map<string, number>();
  readonly #startedAtMs = new Map<string, number>();

  constructor(name: string, metrics: Metrics, clock: Clock) {
    this.#labels = { name };
    this.#metrics = metrics;
    this.#clock = clock;
    this.depth(0);
  }

  added(key: string): void {
    this.#metrics.count('workqueue_adds_total', this.#labels);
    this.#addedAtMs.set(key, this.#clock.nowMs());
  }

  retried(): void {
    this.#metrics.count('workqueue_retries_total', this.#labels);
  }

  started(key: string): void {
    const nowMs = this.#clock.nowMs();
    const addedAtMs = this.#addedAtMs.get(key) ?? nowMs;
    this.#addedAtMs.delete(key);
    this.#startedAtMs.set(key, nowMs);
    this.#metrics.observeSeconds(
      'workqueue_queue_duration_seconds',
      this.#labels,
      (nowMs - addedAtMs) / 1000,
    );
  }

  finished(key: string): void {
    const nowMs = this.#clock.nowMs();
    const startedAtMs = this.#startedAtMs.get(key) ?? nowMs;
    this.#startedAtMs.delete(key);
    this.#metrics.observeSeconds(
      'workqueue_work_duration_seconds',
      this.#labels,
      (nowMs - startedAtMs) / 1000,
    );
  }

  depth(keys: number): void {
    this.#metrics.gauge('workqueue_depth', this.#labels, keys);
  }

  /** How long what is being worked on has taken so far: computed when asked, for a scrape. */
  measure(): void {
    const nowMs = this.#clock.nowMs();
    let totalMs = 0;
    let longestMs = 0;
    for (const startedAtMs of this.#startedAtMs.values()) {
      totalMs += nowMs - startedAtMs;
      longestMs = Math.max(longestMs, nowMs - startedAtMs);
    }
    this.#metrics.gauge('workqueue_unfinished_work_seconds', this.#labels, totalMs / 1000);
    this.#metrics.gauge('workqueue_longest_running_processor_seconds', this.#labels, longestMs / 1000);
  }
}
