import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { WorkQueue } from '../../kube/work-queue.ts';
import { preResizeCapacity } from '../../claims/annotations.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { ClaimQueue } from '../claim-queue.ts';
import type { Watches } from '../watches.ts';
import { ExpansionReconciler, type ExpansionOptions } from './expansion-reconciler.ts';

export interface ExpansionLoopOptions extends ExpansionOptions {
  readonly watches: Watches;
  readonly workers: number;
  readonly metrics: Metrics;
}

/** external-resizer's job for the volumes of one node: which news make which claim be looked at. */
export class ExpansionLoop {
  readonly #watches: Watches;
  readonly #reconciler: ExpansionReconciler;
  readonly #claims: ClaimQueue;

  /** Listens from now on, works from `start` on. */
  constructor(options: ExpansionLoopOptions) {
    this.#watches = options.watches;
    this.#reconciler = new ExpansionReconciler(options);
    this.#claims = new ClaimQueue({
      ...options,
      name: 'expansion',
      driverName: options.own.driverName,
      concerns: mayGrow,
      reconcile: (uid, signal) => this.#reconciler.reconcile(uid, signal),
      forget: (uid) => this.#reconciler.forget(uid),
    });
  }

  get queue(): WorkQueue {
    return this.#claims.work;
  }

  start(signal: AbortSignal): void {
    this.queue.start(signal);
  }

  /** Everything once more, for what no news has told. */
  resync(): void {
    this.#claims.addAll();
  }

  /** Goes by what our own driver tells beyond CSI. @returns how to stop */
  follow(ledger: Pick<VolumeLedger, 'onReleased' | 'onSpaceChanged'>): () => void {
    const stopReleased = ledger.onReleased((volumeId) => {
      // one that could not grow while it was in use may be able to now
      for (const volume of this.#watches.volumesOfHandle(volumeId)) this.#claims.addClaimOf(volume, true);
    });
    const stopSpace = ledger.onSpaceChanged(() => {
      for (const uid of this.#reconciler.takeResting()) this.queue.add(uid);
    });
    return () => {
      stopReleased();
      stopSpace();
    };
  }
}

/** Most have exactly what they ask for, in the same words. */
function mayGrow({ spec, status }: PersistentVolumeClaim, { metadata }: PersistentVolume): boolean {
  const isTold = metadata.annotations?.[preResizeCapacity] !== undefined;
  return isTold || spec.resources?.requests?.['storage'] !== status?.capacity?.['storage'];
}
