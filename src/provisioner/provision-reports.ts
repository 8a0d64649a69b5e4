import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { claimRefOf, dataSourceOf, logFacts, uidOf } from '../claims/claim-facts.ts';
import type { OutcomeEvents } from './outcome-events.ts';

/** An attempt that takes longer is announced while it runs; a quicker one with its outcome, out of the way of the PV's own write. */
const announceMs = 100;
/** How often the progress of a copy is told. */
export const progressMs = 60_000;

/** What people and dashboards hear of attempts to provision: events in upstream's words, upstream's metrics, one log line each. */
export class ProvisionReports {
  readonly #events: OutcomeEvents;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: Metrics;
  /** claim's uid → when its copy's progress was last told */
  readonly #copyingSaidAtMs = new Map<string, number>();

  constructor(options: {
    readonly events: OutcomeEvents;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    this.#events = options.events;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#metrics = options.metrics;
  }

  /** @returns how to take the announcement back, where the outcome is told before it is due */
  beginning(claim: PersistentVolumeClaim): () => void {
    return this.#clock.after(announceMs, () => this.#announce(claim));
  }

  failed(claim: PersistentVolumeClaim, className: string, text: string): void {
    this.countFailure(claim, className);
    this.#warn(claim, `failed to provision volume with StorageClass "${className}": ${text}`);
    this.#log.warn(
      { ...logFacts(claimRefOf(claim)), storageClass: className, err: text },
      'provisioning failed',
    );
  }

  infeasible(claim: PersistentVolumeClaim, className: string, text: string): void {
    this.countFailure(claim, className);
    this.#warn(claim, `Volume provisioning failed with infeasible error. Retries will be delayed. ${text}`);
    const facts = { ...logFacts(claimRefOf(claim)), storageClass: className, err: text };
    this.#log.warn(facts, 'provisioning is infeasible; trying again slowly');
  }

  /** The driver is at it: no failure, and for hours perhaps. @param text its own words, with its progress */
  copying(claim: PersistentVolumeClaim, text: string): void {
    this.#announce(claim);
    const nowMs = this.#clock.nowMs();
    const uid = uidOf(claim);
    if ((this.#copyingSaidAtMs.get(uid) ?? -Infinity) + progressMs > nowMs) return;
    this.#copyingSaidAtMs.set(uid, nowMs);
    this.#events.normal('PersistentVolumeClaim', claim, 'ProvisioningCopies', text);
    this.#log.info({ ...logFacts(claimRefOf(claim)), progress: text }, 'the volume is being copied');
  }

  /** The claim is gone, or its volume is there. */
  forget(claimUid: string): void {
    this.#copyingSaidAtMs.delete(claimUid);
  }

  notSaved(claim: PersistentVolumeClaim, className: string, volumeName: string, error: unknown): void {
    this.countFailure(claim, className);
    const text = messageOf(error);
    this.#warn(claim, `Error saving volume ${volumeName}; its storage is kept and saving goes on: ${text}`);
    const facts = { ...logFacts(claimRefOf(claim)), persistentVolume: volumeName, err: text };
    this.#log.warn(facts, 'the PV could not be saved; trying again');
  }

  /** @param made `elapsedMs` is unset where nobody measured it */
  succeeded(
    claim: PersistentVolumeClaim,
    className: string,
    made: { readonly persistentVolume: string; readonly volumeId: string; readonly elapsedMs?: number },
  ): void {
    const labels = labelsOf(claim, className);
    this.#metrics.count('controller_persistentvolumeclaim_provision_total', labels);
    if (made.elapsedMs !== undefined) {
      const seconds = made.elapsedMs / 1000;
      this.#metrics.observeSeconds(
        'controller_persistentvolumeclaim_provision_duration_seconds',
        labels,
        seconds,
      );
    }
    this.#announce(claim);
    const text = `Successfully provisioned volume ${made.persistentVolume}`;
    this.#events.normal('PersistentVolumeClaim', claim, 'ProvisioningSucceeded', text);
    this.#log.info(
      { ...logFacts(claimRefOf(claim)), storageClass: className, ...made },
      'provisioned a volume',
    );
  }

  /** For failures that no person can do anything about. */
  countFailure(claim: PersistentVolumeClaim, className: string): void {
    this.#metrics.count(
      'controller_persistentvolumeclaim_provision_failed_total',
      labelsOf(claim, className),
    );
  }

  #warn(claim: PersistentVolumeClaim, text: string): void {
    this.#announce(claim);
    this.#events.warning('PersistentVolumeClaim', claim, 'ProvisioningFailed', text);
  }

  #announce(claim: PersistentVolumeClaim): void {
    const { namespace, name } = claimRefOf(claim);
    const text = `External provisioner is provisioning volume for claim "${namespace}/${name}"`;
    this.#events.normal('PersistentVolumeClaim', claim, 'Provisioning', text);
  }
}

function labelsOf(claim: PersistentVolumeClaim, className: string): Readonly<Record<string, string>> {
  return { class: className, source: dataSourceOf(claim)?.kind ?? '' };
}
