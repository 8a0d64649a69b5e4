import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { type Outcome, WorkQueue } from '../kube/work-queue.ts';
import { claimRefOf, uidOf } from '../claims/claim-facts.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { Watches } from './watches.ts';

/** external-resizer's. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };

interface ClaimQueueOptions {
  readonly name: string;
  readonly watches: Watches;
  readonly driverName: string;
  /** Cheap, since every node asks it of every claim that has a volume of this driver. */
  readonly concerns: (claim: PersistentVolumeClaim, volume: PersistentVolume) => boolean;
  readonly reconcile: (uid: string, signal: AbortSignal) => Promise<Outcome>;
  /** the claim is gone */
  readonly forget: (uid: string) => void;
  readonly workers: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Bound claims that have something done to their volume: each is looked at when it or its PV has news. Listens from the start on. */
export class ClaimQueue {
  readonly work: WorkQueue;
  readonly #options: ClaimQueueOptions;

  constructor(options: ClaimQueueOptions) {
    this.#options = options;
    this.work = new WorkQueue({ ...options, backoff });
    options.watches.onClaim(({ previous, current }) => {
      if (current !== undefined) this.add(current);
      if (previous !== undefined && (current === undefined || uidOf(previous) !== uidOf(current)))
        options.forget(uidOf(previous));
    });
    options.watches.onVolume(({ current }) => {
      if (current !== undefined) this.addClaimOf(current);
    });
  }

  add(claim: PersistentVolumeClaim): void {
    const { watches, driverName, concerns } = this.#options;
    if (claim.status?.phase !== 'Bound') return;
    const volume = watches.volume(claim.spec.volumeName ?? '');
    if (volume?.spec.csi?.driver === driverName && concerns(claim, volume)) this.work.add(uidOf(claim));
  }

  /** Everything once more, for what no news has told. */
  addAll(mayConcern: (claim: PersistentVolumeClaim) => boolean = () => true): void {
    for (const claim of this.#options.watches.claims()) if (mayConcern(claim)) this.add(claim);
  }

  /** @param isAnew what has failed before may succeed now */
  addClaimOf({ spec: { csi, claimRef } }: PersistentVolume, isAnew = false): void {
    const { watches, driverName } = this.#options;
    if (csi?.driver !== driverName || claimRef === undefined || claimRef === null) return;
    const { namespace = '', name = '' } = claimRef;
    const claim = watches.claim({ namespace, name });
    if (claim === undefined) return;
    if (isAnew) this.work.forget(claimRefOf(claim).uid);
    this.add(claim);
  }
}
