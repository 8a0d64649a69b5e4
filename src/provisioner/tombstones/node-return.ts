import type { OwnSide } from '../../claims/volume-facts.ts';
import { ApiError } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import { type Outcome, WorkQueue } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import { every } from '../../model/every.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { Orphans } from '../orphans/orphans.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { Watches } from '../watches.ts';
import { MarkReconciler } from './mark-reconciler.ts';
import { TombstoneReconciler } from './tombstone-reconciler.ts';

const workers = 2;
const backoff = { baseMs: 1_000, maxMs: 60_000 };
/** A pool that is not there at two looks is missing. */
const lookMs = 30_000;
/** Tombstones are written only by a controller that lost sight of us: a list now and then is enough. */
const looksAList = 10;
const tombstonePrefix = 'tombstone:';

interface NodeReturnOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly ledger: VolumeLedger;
  readonly calls: DriverCalls;
  readonly orphans: Pick<Orphans, 'alone'>;
  readonly own: OwnSide;
  readonly events: OutcomeEvents;
  readonly clusterUid: string | undefined;
  /** where tombstones lie */
  readonly namespace: string;
  /** how often pools are looked for that are not there; 30 s */
  readonly missingPoolsEveryMs?: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * A lost node's own half: says on its PVs that it is there, and which of its disks are not; and sees to what was let go without it.
 * Keys of the queue are names of PVs, and `tombstone:<name>`.
 */
export class NodeReturn {
  readonly #options: NodeReturnOptions;
  readonly #marks: MarkReconciler;
  readonly #tombstones: TombstoneReconciler;
  readonly #queue: WorkQueue;
  #looks = 0;
  #isRunning = false;
  #isForbidden = false;
  /** the last list failed: tombstones may wait, and the next look is not as far away as the next list */
  #isListDue = false;

  /** Listens from now on, works from `start` on. */
  constructor(options: NodeReturnOptions) {
    this.#options = options;
    const { watches } = options;
    watches.onVolume(({ current }) => {
      if (current !== undefined && this.#isRunning && this.#marks.isWrong(current))
        this.#queue.add(current.metadata.name);
    });
    this.#marks = new MarkReconciler(options);
    this.#tombstones = new TombstoneReconciler(options);
    this.#queue = new WorkQueue({
      ...options,
      name: 'node-return',
      reconcile: (key, signal) => this.#reconcile(key, signal),
      workers,
      backoff,
    });
  }

  /** To be called when the watches have synced. */
  start(signal: AbortSignal): void {
    const { clock, ledger, missingPoolsEveryMs = lookMs } = this.#options;
    this.#isRunning = true;
    this.#queue.start(signal);
    let troubles = troublesOf(ledger);
    void this.#look(true, signal);
    const stop = every(clock, missingPoolsEveryMs, () => {
      this.#looks += 1;
      void this.#look(this.#isListDue || this.#looks % looksAList === 0, signal);
    });
    const forget = ledger.onSpaceChanged(() => {
      const now = troublesOf(ledger);
      if (now === troubles) return;
      // a pool came or went
      troubles = now;
      void this.#look(true, signal);
    });
    const end = (): void => {
      stop();
      forget();
    };
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  }

  /** Resolves when the signal has aborted and nothing is under way any more. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  measure(): void {
    this.#queue.measure();
  }

  /** Never rejects. */
  async #look(withTombstones: boolean, signal: AbortSignal): Promise<void> {
    const { watches, log } = this.#options;
    await this.#marks.look();
    if (signal.aborted) return;
    for (const volume of watches.volumes())
      if (this.#marks.isWrong(volume)) this.#queue.add(volume.metadata.name);
    if (!withTombstones) return;
    try {
      for (const name of await this.#tombstones.list(signal)) this.#queue.add(`${tombstonePrefix}${name}`);
      this.#isForbidden = this.#isListDue = false;
    } catch (error) {
      if (signal.aborted || this.#isForbidden) return;
      this.#isForbidden = error instanceof ApiError && error.status === 403;
      this.#isListDue = !this.#isForbidden;
      log.warn(
        { err: messageOf(error) },
        'could not look for what was let go without this node; later again',
      );
    }
  }

  #reconcile(key: string, signal: AbortSignal): Promise<Outcome> {
    return key.startsWith(tombstonePrefix)
      ? this.#tombstones.reconcile(key.slice(tombstonePrefix.length), signal)
      : this.#marks.reconcile(key, signal);
  }
}

function troublesOf(ledger: VolumeLedger): string {
  return ledger
    .poolTroubles()
    .map(({ name }) => name)
    .join();
}
