import type { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { OwnSide } from '../claims/volume-facts.ts';
import type { Clock } from '../model/clock.ts';
import type { ControllerCapability } from '../model/csi-driver.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { VolumeLedger } from '../model/volume-ledger.ts';
import { ConditionLoop, type ConditionSource } from './conditions/condition-loop.ts';
import type { DriverCalls } from './driver-calls.ts';
import { ExpansionLoop } from './expansion/expansion-loop.ts';
import { ModificationLoop } from './modification/modification-loop.ts';
import { OutcomeEvents } from './outcome-events.ts';
import type { Orphans } from './orphans/orphans.ts';
import { NodeReturn } from './tombstones/node-return.ts';
import type { Watches } from './watches.ts';

export interface VolumeChangesOptions {
  readonly api: KubeApi;
  readonly watches: Watches;
  readonly calls: DriverCalls;
  readonly own: OwnSide;
  readonly recorder: EventRecorder;
  readonly capabilities: ReadonlySet<ControllerCapability>;
  readonly ledger: VolumeLedger | undefined;
  /** there where the ledger is */
  readonly orphans?: Pick<Orphans, 'alone'> | undefined;
  /** unset: nobody in this process knows how its volumes are */
  readonly conditions?: ConditionSource | undefined;
  /** the driver has no EXPAND_VOLUME of its own, and grows volumes on kubelet's call */
  readonly kubeletExpands?: boolean | undefined;
  /** unset: somebody else does that, or nobody */
  readonly expansion?: boolean | undefined;
  readonly modification?: boolean | undefined;
  /** where the tombstones of what was let go without its node lie; unset: nobody writes any */
  readonly tombstoneNamespace?: string | undefined;
  /** how often pools are looked for that are not there; 30 s */
  readonly missingPoolsEveryMs?: number;
  readonly clusterUid?: string | undefined;
  readonly workers: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * What happens to volumes that there are already: growth, other attributes, how they are, and what was let go while this node was not
 * there. Each only where the driver can.
 */
export class VolumeChanges {
  readonly #expansion: ExpansionLoop | undefined;
  readonly #modification: ModificationLoop | undefined;
  readonly #conditions: ConditionLoop | undefined;
  readonly #nodeReturn: NodeReturn | undefined;
  #stopFollowing = (): void => {};

  /** Listens from now on, works from `start` on. */
  constructor(options: VolumeChangesOptions) {
    const { capabilities, expansion = false, modification = false, kubeletExpands = false } = options;
    const { recorder, own, conditions, ledger, orphans } = options;
    // what our own driver can do follows from pools that may be opened later
    const mayCome = own.ownDriver;
    if (expansion && (mayCome || kubeletExpands || capabilities.has('EXPAND_VOLUME'))) {
      const events = new OutcomeEvents(recorder);
      this.#expansion = new ExpansionLoop({ ...options, events, kubeletExpands });
      if (ledger !== undefined) this.#stopFollowing = this.#expansion.follow(ledger);
    }
    if (modification && (mayCome || capabilities.has('MODIFY_VOLUME'))) {
      this.#modification = new ModificationLoop({ ...options, events: new OutcomeEvents(recorder) });
    }
    if (conditions !== undefined && own.ownDriver)
      this.#conditions = new ConditionLoop({ ...options, source: conditions });
    const { tombstoneNamespace: namespace, clusterUid } = options;
    if (namespace !== undefined && ledger !== undefined && orphans !== undefined) {
      const events = new OutcomeEvents(recorder);
      this.#nodeReturn = new NodeReturn({ ...options, ledger, orphans, namespace, clusterUid, events });
    }
  }

  start(signal: AbortSignal): void {
    for (const loop of [this.#expansion, this.#modification, this.#conditions, this.#nodeReturn])
      loop?.start(signal);
  }

  /** Everything once more, for what no news has told. */
  resync(): void {
    this.#expansion?.resync();
    this.#modification?.resync();
  }

  /** Resolves when the signal has aborted and no call is under way any more. */
  async idle(): Promise<void> {
    this.#stopFollowing();
    await Promise.all([
      this.#expansion?.queue.idle(),
      this.#modification?.queue.idle(),
      this.#conditions?.idle(),
      this.#nodeReturn?.idle(),
    ]);
  }

  /** Sets the gauges that are only worth computing for a scrape. */
  measure(): void {
    this.#expansion?.queue.measure();
    this.#modification?.queue.measure();
    this.#nodeReturn?.measure();
  }
}
