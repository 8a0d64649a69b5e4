import type { PersistentVolumeClaim } from '../../kube/objects.ts';
import type { WorkQueue } from '../../kube/work-queue.ts';
import { hasCondition } from '../../claims/claim-conditions.ts';
import type { Metrics } from '../../model/metrics.ts';
import { ClaimQueue } from '../claim-queue.ts';
import type { Watches } from '../watches.ts';
import { AttributesClasses } from './attributes-classes.ts';
import { ModificationReconciler, type ModificationOptions } from './modification-reconciler.ts';
import { modificationStateOf, modifying } from './modification-state.ts';

export interface ModificationLoopOptions extends Omit<ModificationOptions, 'classes'> {
  readonly watches: Watches;
  readonly workers: number;
  readonly metrics: Metrics;
}

/** external-resizer's other job for the volumes of one node: which news make which claim's VolumeAttributesClass be looked at. */
export class ModificationLoop {
  readonly #claims: ClaimQueue;
  readonly #classes: AttributesClasses;

  /** Listens from now on, works from `start` on. */
  constructor(options: ModificationLoopOptions) {
    this.#classes = new AttributesClasses(options);
    const reconciler = new ModificationReconciler({ ...options, classes: this.#classes });
    this.#claims = new ClaimQueue({
      ...options,
      name: 'modification',
      driverName: options.own.driverName,
      concerns: mayChange,
      reconcile: (uid, signal) => reconciler.reconcile(uid, signal),
      forget: (uid) => reconciler.forget(uid),
    });
    this.#classes.onArrival((name) => this.resync(name));
  }

  get queue(): WorkQueue {
    return this.#claims.work;
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
    this.#claims.addAll((claim) => {
      const { wanted, target } = modificationStateOf(claim);
      return className === undefined || wanted === className || target === className;
    });
  }
}

function mayChange(claim: PersistentVolumeClaim): boolean {
  const { wanted, current, status } = modificationStateOf(claim);
  return status !== undefined || wanted !== current || hasCondition(claim, modifying);
}
