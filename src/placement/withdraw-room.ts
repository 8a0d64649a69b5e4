import { capacityReason } from '../claims/annotations.ts';
import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { CsiStorageCapacity } from '../kube/objects.ts';
import { type Outcome, WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { decideWithdrawal, type WithdrawalDecision } from './decide-withdrawal.ts';
import { nodeStateOf } from './node-state.ts';
import type { NodeTrouble } from './node-trouble.ts';
import { publisherOf, roomOf } from './room.ts';
import type { Survey } from './survey.ts';
import type { Watches } from './watches.ts';

/** A zone that fails has hundreds of nodes, and none of them is urgent. */
const workers = 2;
const backoff = { baseMs: 200, maxMs: 60_000 };

interface RoomWithdrawalOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly survey: Survey;
  readonly driverName: string;
  readonly unreachableAfterMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

type Withdrawal = Extract<WithdrawalDecision, { kind: 'withdraw' }>;

/**
 * Has the capacity objects of nodes that are away for long say that there is no room. Deletes nothing: the node's process, once it is
 * back, writes what is so. Each write is a patch with the object's version as precondition, so that it never undoes what the process has
 * just written. Its keys are names of nodes.
 */
export class RoomWithdrawal {
  readonly #options: RoomWithdrawalOptions;
  readonly #queue: WorkQueue;
  readonly #writtenAtMs = new WeakMap<CsiStorageCapacity, number>();
  #isRunning = false;

  constructor(options: RoomWithdrawalOptions) {
    this.#options = options;
    this.#queue = new WorkQueue({
      ...options,
      name: 'abandoned-room',
      reconcile: (nodeName, signal) => this.#reconcile(nodeName, signal),
      workers,
      backoff,
    });
  }

  /** To be called before the watches start, and after whoever has the survey take note of nodes. */
  listen(): void {
    const { watches, clock } = this.#options;
    watches.on('Node', ({ previous, current }) => this.#lookAt((current ?? previous)?.metadata.name ?? ''));
    watches.on('CSINode', ({ previous, current }) =>
      this.#lookAt((current ?? previous)?.metadata.name ?? ''),
    );
    watches.on('CSIStorageCapacity', ({ current }) => {
      const value = current === undefined ? undefined : publisherOf(current);
      if (current === undefined || value === undefined) return;
      // what is there at the start may be of any age
      if (this.#isRunning) this.#writtenAtMs.set(current, clock.nowMs());
      for (const { metadata } of watches.nodesOfValue(value)) this.#lookAt(metadata.name);
    });
  }

  start(signal: AbortSignal): void {
    this.#isRunning = true;
    this.#queue.start(signal);
    this.lookAtAll();
  }

  lookAtAll(): void {
    for (const { metadata } of this.#options.watches.nodes()) this.#lookAt(metadata.name);
  }

  /** Resolves when the signal has aborted and nothing is under way any more. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  measure(): void {
    this.#queue.measure();
  }

  #lookAt(nodeName: string): void {
    if (this.#isRunning && this.#judge(nodeName).some(({ decision }) => decision.kind !== 'keep'))
      this.#queue.add(nodeName);
  }

  #judge(nodeName: string) {
    const { watches, survey, clock, unreachableAfterMs } = this.#options;
    const node = survey.nodeState(nodeName);
    const absence = survey.absenceOf(nodeName);
    return watches.capacitiesBy(labelValueOf(nodeName)).map((object) => {
      const writtenAtMs = this.#writtenAtMs.get(object);
      const facts = { node, ...absence, room: roomOf(object), writtenAtMs, unreachableAfterMs };
      return { object, decision: decideWithdrawal({ ...facts, nowMs: clock.nowMs() }) };
    });
  }

  async #reconcile(nodeName: string, signal: AbortSignal): Promise<Outcome> {
    const due: { readonly object: CsiStorageCapacity; readonly decision: Withdrawal }[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { object, decision } of this.#judge(nodeName)) {
      if (decision.kind === 'withdraw') due.push({ object, decision });
      else if (decision.kind === 'wait') nextMs = Math.min(nextMs, decision.afterMs);
    }
    const [first] = due;
    if (first !== undefined) {
      const { cause, reason } = first.decision;
      // all that was known may be a moment old
      if (!(await this.#isStillAway(nodeName, cause, signal))) return { kind: 'retry' };
      for (const { object } of due) {
        // somebody was faster: the watch brings what there is now, and with it the next look
        if (!(await this.#withdraw(object, reason, signal))) return { kind: 'retry' };
      }
      this.#options.metrics.count('loam_capacity_withdrawn_total', { cause });
      this.#options.log.warn({ node: nodeName, objects: due.length, reason }, "a node's room does not count");
    }
    return Number.isFinite(nextMs) ? { kind: 'retry', afterMs: nextMs } : { kind: 'done' };
  }

  async #isStillAway(nodeName: string, cause: NodeTrouble['cause'], signal: AbortSignal): Promise<boolean> {
    const { api, watches, driverName } = this.#options;
    const live = await lookUp(api, 'Node', { name: nodeName }, signal);
    if (live === undefined || live.metadata.uid !== watches.node(nodeName)?.metadata.uid) return false;
    return cause === 'driver-lost' || !nodeStateOf(live, undefined, driverName).isReady;
  }

  /** @returns false where somebody else has written to it, or deleted it */
  async #withdraw({ metadata }: CsiStorageCapacity, reason: string, signal: AbortSignal): Promise<boolean> {
    const { api, watches } = this.#options;
    const { namespace = '', name, resourceVersion } = metadata;
    const body = {
      metadata: { resourceVersion, annotations: { [capacityReason]: reason } },
      capacity: '0',
      maximumVolumeSize: '0',
    };
    try {
      const key = { namespace, name };
      watches.putCapacity(await api.patch('CSIStorageCapacity', key, { type: 'merge', body }, signal));
      return true;
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) return false;
      throw error;
    }
  }
}
