import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { WorkQueue } from '../../kube/work-queue.ts';
import { preResizeCapacity } from '../../claims/annotations.ts';
import { claimRefOf, uidOf } from '../../claims/claim-facts.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import type { Watches } from '../watches.ts';
import { ExpansionReconciler, type ExpansionOptions } from './expansion-reconciler.ts';

/** external-resizer's. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };

export interface ExpansionLoopOptions extends ExpansionOptions {
  readonly watches: Watches;
  readonly workers: number;
  readonly metrics: Metrics;
}

/** external-resizer's job for the volumes of one node: which news make which claim be looked at. */
export class ExpansionLoop {
  readonly queue: WorkQueue;
  readonly #watches: Watches;
  readonly #driverName: string;
  readonly #reconciler: ExpansionReconciler;

  /** Listens from now on, works from `start` on. */
  constructor(options: ExpansionLoopOptions) {
    this.#watches = options.watches;
    this.#driverName = options.own.driverName;
    this.#reconciler = new ExpansionReconciler(options);
    this.queue = new WorkQueue({
      ...options,
      name: 'expansion',
      backoff,
      reconcile: (uid, signal) => this.#reconciler.reconcile(uid, signal),
    });
    options.watches.onClaim(({ previous, current }) => {
      if (current !== undefined) this.#addClaim(current);
      if (previous !== undefined && (current === undefined || uidOf(previous) !== uidOf(current)))
        this.#reconciler.forget(uidOf(previous));
    });
    options.watches.onVolume(({ current }) => {
      if (current !== undefined) this.#addClaimOf(current);
    });
  }

  start(signal: AbortSignal): void {
    this.queue.start(signal);
  }

  /** Everything once more, for what no news has told. */
  resync(): void {
    for (const claim of this.#watches.claims()) this.#addClaim(claim);
  }

  /** Goes by what our own driver tells beyond CSI. @returns how to stop */
  follow(ledger: Pick<VolumeLedger, 'onReleased' | 'onSpaceChanged'>): () => void {
    const stopReleased = ledger.onReleased((volumeId) => {
      for (const volume of this.#watches.volumesOfHandle(volumeId)) this.#addClaimOf(volume, true);
    });
    const stopSpace = ledger.onSpaceChanged(() => {
      for (const uid of this.#reconciler.takeResting()) this.queue.add(uid);
    });
    return () => {
      stopReleased();
      stopSpace();
    };
  }

  /** @param isAnew a volume that could not grow while it was in use may be able to now */
  #addClaimOf(volume: PersistentVolume, isAnew = false): void {
    const ref = volume.spec.claimRef;
    if (volume.spec.csi?.driver !== this.#driverName || ref === undefined || ref === null) return;
    const claim = this.#watches.claim({ namespace: ref.namespace ?? '', name: ref.name ?? '' });
    if (claim === undefined) return;
    if (isAnew) this.queue.forget(claimRefOf(claim).uid);
    this.#addClaim(claim);
  }

  #addClaim(claim: PersistentVolumeClaim): void {
    const volume = this.#watches.volume(claim.spec.volumeName ?? '');
    if (volume?.spec.csi?.driver === this.#driverName && mayGrow(claim, volume)) this.queue.add(uidOf(claim));
  }
}

/** Cheap, since every node asks it of every claim: most have exactly what they ask for, in the same words. */
function mayGrow({ spec, status }: PersistentVolumeClaim, volume: PersistentVolume): boolean {
  if (status?.phase !== 'Bound') return false;
  const isTold = volume.metadata.annotations?.[preResizeCapacity] !== undefined;
  return isTold || spec.resources?.requests?.['storage'] !== status.capacity?.['storage'];
}
