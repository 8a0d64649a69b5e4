import { ApiError, ApiUnreachable } from '../../kube/api-error.ts';
import { backOffMs } from '../../kube/back-off.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { parseQuantity } from '../../model/quantity.ts';
import type { CapacityObjects } from './capacity-objects.ts';
import type { PlannedWrite } from './plan-round.ts';

const waits = { baseMs: 1_000, maxMs: 60_000 };

interface CapacityWriterOptions {
  readonly objects: CapacityObjects;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Carries out what a round planned, and notes in a class's state how that went. */
export class CapacityWriter {
  readonly #options: CapacityWriterOptions;
  /** objects of classes that are gone, by name, which have no state of their own */
  readonly #leftovers = new Map<string, { failures: number; notBeforeMs: number }>();

  constructor(options: CapacityWriterOptions) {
    this.#options = options;
  }

  /** @throws what makes every other write pointless too */
  async write(write: PlannedWrite, signal: AbortSignal): Promise<void> {
    const { clock, log, metrics } = this.#options;
    const { reason } = write;
    const name = write.kind === 'remove' ? write.published.metadata.name : write.wanted.metadata.name;
    const leftover = write.state === undefined ? this.#leftovers.get(name) : undefined;
    if (leftover !== undefined && leftover.notBeforeMs > clock.nowMs()) return;
    const { state } = write;
    try {
      await this.#send(write, signal);
    } catch (error) {
      if (signal.aborted || isOutage(error)) throw error;
      const failures = (state ?? leftover)?.failures ?? 0;
      const waitMs = Math.round(backOffMs(failures + 1, waits));
      const facts = { class: write.className, err: messageOf(error), waitMs };
      log.warn(facts, "a class's capacity could not be published; trying again");
      const after = { failures: failures + 1, notBeforeMs: clock.nowMs() + waitMs };
      if (state === undefined) this.#leftovers.set(name, after);
      else Object.assign(state, after);
      return;
    }
    this.#leftovers.delete(name);
    log.debug({ class: write.className, kind: write.kind }, `capacity: ${reason}`);
    if (state === undefined) return;
    Object.assign(state, { writtenAtMs: clock.nowMs(), isWritten: true, isNews: false, failures: 0 });
    if (write.kind === 'remove') return;
    const bytes = Number(parseQuantity(write.wanted.maximumVolumeSize ?? '0'));
    metrics.gauge('loam_capacity_published_bytes', { class: write.className }, bytes);
  }

  async #send(write: PlannedWrite, signal: AbortSignal): Promise<void> {
    switch (write.kind) {
      case 'create':
        return this.#options.objects.create(write.wanted, signal);
      case 'patch':
        return this.#options.objects.patch(write.wanted.metadata.name, write.body, signal);
      case 'replace':
        await this.#options.objects.remove(write.published, signal);
        return this.#options.objects.create(write.wanted, signal);
      case 'remove':
        return this.#options.objects.remove(write.published, signal);
    }
  }
}

/**
 * Nobody there, or nobody who can: another object would fare no better. Not so where something is forbidden: a policy or a quota speaks
 * of one object, and must not keep the others back.
 */
function isOutage(error: unknown): boolean {
  if (error instanceof ApiUnreachable) return true;
  return error instanceof ApiError && ([401, 429].includes(error.status) || error.status >= 500);
}
