import { claimRefOf, logFacts, uidOf } from '../claims/claim-facts.ts';
import type { EventReason } from '../claims/event-reasons.ts';
import type { EventSink } from '../kube/event-recorder.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import type { ReleaseCause } from './decide-release.ts';
import type { Description } from './describe-nowhere.ts';

/** What has not changed in kind is said again only after this. */
const repeatMs = 10 * 60_000;

/** What people hear of placement: an Event where a claim cannot be had or is let go, a line of log and a number for everything. */
export class PlacementReports {
  readonly #events: EventSink<EventReason>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: Metrics;
  /** claim's uid → what was said, by kind, and when: one trouble that turns into another and back is no news each time */
  readonly #said = new Map<string, Map<string, number>>();

  constructor(options: {
    readonly events: EventSink<EventReason>;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    this.#events = options.events;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#metrics = options.metrics;
  }

  placed(claim: PersistentVolumeClaim, nodeName: string, reason: string): void {
    this.#metrics.count('loam_placements_total', { outcome: 'placed' });
    this.#log.info({ ...logFacts(claimRefOf(claim)), node: nodeName, reason }, 'placed a claim');
  }

  /** Somebody else wrote to the claim first. */
  overtaken(): void {
    this.#metrics.count('loam_placements_total', { outcome: 'conflict' });
  }

  /** @returns how long from now the same would be said again */
  cannotBeHad(claim: PersistentVolumeClaim, { text, kind }: Description): number {
    const nowMs = this.#clock.nowMs();
    const said = this.#said.get(uidOf(claim)) ?? new Map<string, number>();
    const leftMs = (said.get(kind) ?? -Infinity) + repeatMs - nowMs;
    if (leftMs > 0) return leftMs;
    for (const [other, atMs] of said) if (atMs + repeatMs <= nowMs) said.delete(other);
    this.#said.set(uidOf(claim), said.set(kind, nowMs));
    this.#metrics.count('loam_placements_total', { outcome: 'nowhere' });
    this.#log.warn({ ...logFacts(claimRefOf(claim)), reason: text }, 'a claim cannot be placed');
    this.#events.record(
      { kind: 'PersistentVolumeClaim', object: claim },
      'Warning',
      'ProvisioningFailed',
      text,
    );
    return repeatMs;
  }

  released(claim: PersistentVolumeClaim, cause: ReleaseCause, reason: string): void {
    this.#metrics.count('loam_claims_released_total', { cause });
    this.#log.warn({ ...logFacts(claimRefOf(claim)), reason }, 'a claim does not wait for its node any more');
    const text = `${reason}: the claim does not wait for it any longer, and another node may be selected`;
    this.#events.record({ kind: 'PersistentVolumeClaim', object: claim }, 'Warning', 'NodeUnselected', text);
  }

  /** Nothing is wrong with the claim any more, or it is gone. Not so when it was placed: the node may give it back. */
  forget(claimUid: string): void {
    this.#said.delete(claimUid);
  }
}
