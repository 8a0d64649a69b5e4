import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { WorkQueue } from '../../kube/work-queue.ts';
import { hasCondition } from '../../claims/claim-conditions.ts';
import { uidOf } from '../../claims/claim-facts.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { Watches } from '../watches.ts';
import { AttributesClasses } from './attributes-classes.ts';
import { ModificationReconciler, type ModificationOptions } from './modification-reconciler.ts';
import { modificationStateOf, modifying } from './modification-state.ts';

/** external-resizer's. */
const backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };

export interface ModificationLoopOptions extends Omit<ModificationOptions, 'classes'> {
  readonly watches: Watches;
  readonly workers: number;
  readonly metrics: Metrics;
}

/** external-resizer's other job for the volumes of one node: which news make which claim's VolumeAttributesClass be looked at. */
export class ModificationLoop {
  readonly queue: WorkQueue;
  readonly #watches: Watches;
  readonly #driverName: string;
  readonly #classes: AttributesClasses;

  /** Listens from now on, works from `start` on. */
  constructor(options: ModificationLoopOptions) {
    this.#watches = options.watches;
    this.#driverName = options.own.driverName;
    this.#classes = new AttributesClasses(options);
    const reconciler = new ModificationReconciler({ ...options, classes: this.#classes });
    this.queue = new WorkQueue({
      ...options,
      name: 'modification',
      backoff,
      reconcile: (uid, signal) => reconciler.reconcile(uid, signal),
    });
    options.watches.onClaim(({ previous, current }) => {
      if (current !== undefined) this.#addClaim(current);
      if (previous !== undefined && (current === undefined || uidOf(previous) !== uidOf(current)))
        reconciler.forget(uidOf(previous));
    });
    options.watches.onVolume(({ current }) => {
      if (current !== undefined) this.#addClaimOf(current);
    });
    this.#classes.onArrival((name) => this.resync(name));
  }

  /** Once the classes are known, so that none is called missing that is only not listed yet. */
  start(signal: AbortSignal): void {
    void this.#classes.start(signal).then(
      () => this.queue.start(signal),
      // the signal aborted first: so that it is idle all the same
      () => this.queue.start(signal),
    );
  }

  /** @param className claims that have to do with this class; unset: everything once more, for what no news has told */
  resync(className?: string): void {
    for (const claim of this.#watches.claims()) {
      const { wanted, target } = modificationStateOf(claim);
      if (className === undefined || wanted === className || target === className) this.#addClaim(claim);
    }
  }

  #addClaimOf({ spec: { csi, claimRef } }: PersistentVolume): void {
    if (csi?.driver !== this.#driverName || claimRef === undefined || claimRef === null) return;
    const { namespace = '', name = '' } = claimRef;
    const claim = this.#watches.claim({ namespace, name });
    if (claim !== undefined) this.#addClaim(claim);
  }

  #addClaim(claim: PersistentVolumeClaim): void {
    if (!mayChange(claim)) return;
    const volume = this.#watches.volume(claim.spec.volumeName ?? '');
    if (volume?.spec.csi?.driver === this.#driverName) this.queue.add(uidOf(claim));
  }
}

/** Cheap, since every node asks it of every claim. */
function mayChange(claim: PersistentVolumeClaim): boolean {
  if (claim.status?.phase !== 'Bound') return false;
  const { wanted, current, status } = modificationStateOf(claim);
  return status !== undefined || wanted !== current || hasCondition(claim, modifying);
}
