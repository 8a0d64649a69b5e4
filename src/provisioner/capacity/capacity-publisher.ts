import { backOffMs } from '../../kube/back-off.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { Node, StorageClass } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { EventReason } from '../../claims/event-reasons.ts';
import type { EventSink } from '../../kube/event-recorder.ts';
import { buildCapacity, capacityNameOf, type CapacityScope, type Room } from './capacity-object.ts';
import { CapacityObjects } from './capacity-objects.ts';
import { CapacityWriter } from './capacity-writer.ts';
import { planRound, type ClassState } from './plan-round.ts';
import { OwnNode } from './own-node.ts';
import { PoolEvents } from './pool-events.ts';
import { readRoom } from './read-room.ts';

/** News come in bunches: a volume is reserved, made and committed within milliseconds. Its claim comes first. */
const settleMs = 100;
const roundGapMs = 400;
/** What others write on the disk nobody tells us. */
const pollMs = 10_000;
/** A driver of other people tells nothing, and may ask a storage system far away. */
const strangerPollMs = 60_000;
/** A pool that the process before us still holds is no pool that is missing. */
const startGraceMs = 5_000;
const waits = { baseMs: 1_000, maxMs: 60_000 };
/** All nodes of a cluster start at once, each with an object for every class. */
const writesPerRound = 20;

export interface CapacityPublisherOptions {
  readonly api: KubeApi;
  readonly calls: Pick<DriverCalls, 'getCapacity'>;
  readonly own: OwnSide;
  readonly namespace: string;
  /** of any driver */
  readonly classes: () => Iterable<StorageClass>;
  /** unset: a driver of other people */
  readonly ledger?: Pick<VolumeLedger, 'onSpaceChanged' | 'poolTroubles'> | undefined;
  readonly events: EventSink<EventReason>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Keeps one CSIStorageCapacity for each of the driver's classes equal to what GetCapacity says of this node, and tells on the
 * Node which pools are missing. Works in rounds, each of which reads everything anew and writes what differs: a crash, a lost
 * answer or a missed event costs a round. What it wrote stays when the process ends, since it is as true as before.
 */
export class CapacityPublisher {
  readonly #options: CapacityPublisherOptions;
  readonly #scope: CapacityScope;
  readonly #node: OwnNode;
  readonly #objects: CapacityObjects;
  readonly #writer: CapacityWriter;
  readonly #poolEvents: PoolEvents;
  /** class name → what this process did about it */
  readonly #states = new Map<string, ClassState>();
  #startedAtMs = 0;
  #signal: AbortSignal | undefined;
  #isSynced = false;
  #isNews = false;
  /** whether the pools had their time to open */
  #isSettled = false;
  /** rounds that an API server did not take anything in */
  #outages = 0;
  #notBeforeMs = 0;
  #timer: { readonly dueMs: number; readonly cancel: () => void } | undefined;
  #running: Promise<void> | undefined;
  /** when somebody woke the next round while one was running */
  #afterRoundMs = Number.POSITIVE_INFINITY;

  constructor(options: CapacityPublisherOptions) {
    const { own, namespace } = options;
    this.#options = options;
    this.#scope = { ...own, namespace };
    this.#poolEvents = new PoolEvents(options.events);
    this.#node = new OwnNode({ ...options, nodeName: own.nodeName, onLook: () => this.#wake(0) });
    this.#objects = new CapacityObjects({
      ...options,
      scope: this.#scope,
      onForeignChange: (isDeleted) => {
        if (isDeleted) this.#node.lookAgain();
        this.#heard();
        this.refresh();
      },
    });
    this.#writer = new CapacityWriter({ ...options, objects: this.#objects });
  }

  /** Begins, and does not let anybody wait: claims are served whatever becomes of this. */
  start(signal: AbortSignal): void {
    const { clock, ledger } = this.#options;
    this.#signal = signal;
    this.#startedAtMs = clock.nowMs();
    const stopListening = ledger?.onSpaceChanged(() => this.refresh());
    signal.addEventListener(
      'abort',
      () => {
        stopListening?.();
        this.#timer?.cancel();
      },
      { once: true },
    );
    this.#node.start(signal);
    const begin = (): void => {
      this.#isSynced = true;
      this.refresh();
    };
    this.#objects.start(signal).then(begin, () => {});
  }

  /** Something may have changed by our own doing, or in the classes: what differs is written within a second. */
  refresh(): void {
    this.#isNews = true;
    this.#wake(settleMs);
  }

  /** Resolves when nothing is under way any more; after the signal has aborted. */
  async idle(): Promise<void> {
    await Promise.all([this.#running, this.#node.idle()]);
  }

  /** The API server is there: what waits for an outage to end need not wait any longer. */
  #heard(): void {
    this.#notBeforeMs = Math.min(this.#notBeforeMs, this.#options.clock.nowMs() + roundGapMs);
    this.#node.retry();
  }

  /** Has a round begin after this time, or sooner where one is due before. */
  #wake(delayMs: number): void {
    if (!this.#isSynced || this.#signal?.aborted !== false) return;
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    // a machine whose time is set back does not wait until it is that late again
    const notBeforeMs = Math.min(this.#notBeforeMs, nowMs + waits.maxMs);
    const dueMs = Math.max(nowMs + delayMs, notBeforeMs);
    if (this.#running !== undefined) {
      this.#afterRoundMs = Math.min(this.#afterRoundMs, dueMs);
      return;
    }
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    this.#timer = { dueMs, cancel: clock.after(dueMs - nowMs, () => this.#begin()) };
  }

  #begin(): void {
    const signal = this.#signal;
    this.#timer = undefined;
    if (signal === undefined || signal.aborted) return;
    this.#afterRoundMs = Number.POSITIVE_INFINITY;
    this.#running = this.#runRound(signal);
  }

  async #runRound(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    // not within #begin: nobody may wake a round that is running before it counts as such
    await Promise.resolve();
    const nextMs = await this.#round(signal);
    this.#running = undefined;
    this.#notBeforeMs = Math.max(this.#notBeforeMs, clock.nowMs() + roundGapMs);
    this.#wake(Math.min(nextMs, this.#afterRoundMs) - clock.nowMs());
  }

  /** Never rejects. @returns when the next round is due at the latest */
  async #round(signal: AbortSignal): Promise<number> {
    const { clock, ledger, log } = this.#options;
    const nextMs = clock.nowMs() + (ledger === undefined ? strangerPollMs : pollMs);
    const node = this.#node.current;
    // who waits for the Node is woken by it
    if (node === undefined) return nextMs;
    const troubles = ledger?.poolTroubles() ?? [];
    const graceEndMs = this.#startedAtMs + startGraceMs;
    const mayOpenSoon = !this.#isSettled && troubles.length > 0 && clock.nowMs() < graceEndMs;
    if (mayOpenSoon) return graceEndMs;
    this.#isSettled = true;
    try {
      const planned = await this.#plan(node, signal);
      // the reading may have found out that a pool is gone
      if (ledger !== undefined) this.#poolEvents.tell(node, ledger.poolTroubles());
      for (const write of planned.writes.slice(0, writesPerRound)) await this.#writer.write(write, signal);
      this.#outages = 0;
      const hasMore = planned.writes.length > writesPerRound;
      return Math.min(nextMs, planned.nextMs, hasMore ? clock.nowMs() + roundGapMs : nextMs);
    } catch (error) {
      if (signal.aborted) return nextMs;
      this.#outages += 1;
      const waitMs = Math.round(backOffMs(this.#outages, waits));
      this.#notBeforeMs = clock.nowMs() + waitMs;
      log.warn({ err: messageOf(error), waitMs }, 'capacity could not be published; trying again');
      return this.#notBeforeMs;
    }
  }

  /** Asks the driver, once for all classes with the same parameters, and compares. */
  async #plan(node: Node, signal: AbortSignal): Promise<ReturnType<typeof planRound>> {
    const { own, clock, metrics } = this.#options;
    const owner = { uid: node.metadata.uid ?? '', segments: this.#segmentsOf(node) };
    const classes = [...this.#options.classes()].filter(({ provisioner }) => provisioner === own.driverName);
    this.#takeNews(classes);
    const rooms = new Map<string, Promise<Room | undefined>>();
    const wishes = [];
    for (const storageClass of classes) {
      const { name } = storageClass.metadata;
      const room = await this.#roomFor(storageClass, rooms, signal);
      const state = this.#states.get(name);
      if (state === undefined) continue;
      const wanted = room && buildCapacity(this.#scope, name, owner, room);
      const published = this.#objects.get(capacityNameOf(this.#scope, name));
      wishes.push({ className: name, state, wanted, published });
    }
    const plan = planRound(wishes, this.#objects.all(), clock.nowMs());
    metrics.gauge('csistoragecapacities_desired_goal', {}, classes.length);
    metrics.gauge('csistoragecapacities_desired_current', {}, plan.current);
    metrics.gauge('csistoragecapacities_obsolete', {}, plan.obsolete);
    return plan;
  }

  /** From here on the states say which classes something happened to. */
  #takeNews(classes: readonly StorageClass[]): void {
    for (const { metadata } of classes) {
      const known = this.#states.get(metadata.name);
      if (known === undefined) {
        this.#states.set(metadata.name, {
          writtenAtMs: this.#startedAtMs,
          isWritten: false,
          isNews: false,
          failures: 0,
          notBeforeMs: 0,
        });
      } else if (this.#isNews) known.isNews = true;
    }
    this.#isNews = false;
    const names = new Set(classes.map(({ metadata }) => metadata.name));
    for (const name of this.#states.keys()) {
      if (names.has(name)) continue;
      this.#states.delete(name);
      this.#options.metrics.gauge('loam_capacity_published_bytes', { class: name }, 0);
    }
  }

  /** Undefined where the driver cannot say: then what is published stands. */
  #roomFor(
    storageClass: StorageClass,
    rooms: Map<string, Promise<Room | undefined>>,
    signal: AbortSignal,
  ): Promise<Room | undefined> {
    const { calls, own, log } = this.#options;
    const key = JSON.stringify(storageClass.parameters ?? {});
    const known = rooms.get(key);
    if (known !== undefined) return known;
    const reader = { calls, ...(own.ownDriver ? { segments: own.segments } : {}) };
    const room = readRoom(reader, storageClass, signal).catch((error: unknown) => {
      const facts = { class: storageClass.metadata.name, err: messageOf(error) };
      if (!signal.aborted) log.warn(facts, 'the driver does not say how much room there is');
      return undefined;
    });
    rooms.set(key, room);
    return room;
  }

  /** Another driver's topology keys are its own; that its node is this one every Node's host name says. */
  #segmentsOf({ metadata }: Node): Record<string, string> {
    const { own } = this.#options;
    if (own.ownDriver) return { ...own.segments };
    const key = 'kubernetes.io/hostname';
    return { [key]: metadata.labels?.[key] ?? own.nodeName };
  }
}
