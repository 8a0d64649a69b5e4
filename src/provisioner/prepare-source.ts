import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Log } from '../model/log.ts';
import type { VolumeLedger } from '../model/volume-ledger.ts';
import type { ContentSource } from '../model/volume.ts';
import { claimRefOf, logFacts, selectedNodeOf, uidOf } from '../claims/claim-facts.ts';
import { describeSource, type SourceRef } from '../claims/data-source.ts';
import { findSource } from '../claims/find-source.ts';
import { SourceWaits } from '../claims/source-waits.ts';
import type { OwnSide } from '../claims/volume-facts.ts';
import { giveBack } from './give-back.ts';
import type { Intents } from './intents.ts';
import type { OutcomeEvents } from './outcome-events.ts';
import type { SourceProtection } from './protect-source.ts';
import type { ProvisionReports } from './provision-reports.ts';
import type { IntentSettler } from './settle-intent.ts';
import type { ClusterView } from './watches.ts';

/** Most news of sources are heard; this is for those that are not, and for what follows a moment after the news. */
const waits = { baseMs: 250, maxMs: 15_000 };

export interface SourceOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly own: OwnSide;
  readonly ledger?: Pick<VolumeLedger, 'holdsVolume' | 'holdsSnapshot'> | undefined;
  readonly intents: Intents;
  readonly settler: IntentSettler;
  readonly protection: SourceProtection;
  readonly reports: ProvisionReports;
  readonly events: OutcomeEvents;
  readonly log: Log;
}

export type PreparedSource =
  | { readonly kind: 'ready'; readonly contentSource: ContentSource }
  | { readonly kind: 'not-now'; readonly outcome: Outcome };

/** What is done about a claim's source before the driver is asked: found, judged, on this node, and kept from being deleted. */
export class SourcePreparation {
  readonly #options: SourceOptions;
  readonly #waits = new SourceWaits(waits);

  constructor(options: SourceOptions) {
    this.#options = options;
  }

  /** @param canMove whether somebody would choose another node for the claim */
  async prepare(
    wish: {
      readonly claim: PersistentVolumeClaim;
      readonly storageClass: StorageClass;
      readonly source: SourceRef;
      readonly canMove: boolean;
    },
    signal: AbortSignal,
  ): Promise<PreparedSource> {
    const { api, own, protection, reports } = this.#options;
    const { claim, storageClass, source } = wish;
    const uid = uidOf(claim);
    await protection.reserve(uid, source);
    const found = await findSource(api, { claim, ref: source, driverName: own.driverName }, signal);
    if (found.kind === 'not-ready') {
      reports.failed(claim, storageClass.metadata.name, found.reason);
      return notNow({ kind: 'retry', afterMs: this.#waits.wait(uid, source) });
    }
    this.#waits.forget(uid);
    if (found.node !== undefined && found.node !== own.topologyValue && !this.#holds(found.contentSource))
      return notNow(await this.#elsewhere(wish, found.node, signal));
    await protection.protect(source, found.object, signal);
    return { kind: 'ready', contentSource: found.contentSource };
  }

  /** The claim is gone, has its volume, or is not this node's. */
  forget(claimUid: string): void {
    this.#waits.forget(claimUid);
    this.#options.protection.release(claimUid);
  }

  /** Something became of a source. @returns the claims that waited for it */
  sourceChanged(ref: SourceRef): readonly string[] {
    return this.#waits.wake(ref);
  }

  /** What lies on this node's disks is here, whatever a label says. */
  #holds(source: ContentSource): boolean {
    const { ledger } = this.#options;
    if (ledger === undefined) return false;
    return source.kind === 'volume'
      ? ledger.holdsVolume(source.volumeId)
      : ledger.holdsSnapshot(source.snapshotId);
  }

  /** A copy is made where its source is, by the node that has it. */
  async #elsewhere(
    { claim, storageClass, source, canMove }: Parameters<SourcePreparation['prepare']>[0],
    node: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { own, intents, settler, reports, events, log } = this.#options;
    const why = `${describeSource(source)} is on node ${node}, and a copy can only be made there`;
    const intent = intents.get(uidOf(claim));
    if (intent !== undefined) {
      const outcome = await settler.settle(intent, claim, why, signal);
      return outcome.kind === 'done' ? { kind: 'retry', afterMs: 0 } : outcome;
    }
    if (selectedNodeOf(claim) === undefined) {
      log.debug({ ...logFacts(claimRefOf(claim)), node }, 'the node that has the source serves this claim');
      return { kind: 'done' };
    }
    if (!canMove) {
      reports.failed(claim, storageClass.metadata.name, `${why}; ${own.nodeName} was selected`);
      return { kind: 'retry' };
    }
    const outcome = await giveBack(this.#options, claim, signal);
    if (outcome.kind === 'done') {
      const text = `${why}: the claim does not wait for ${own.nodeName} any longer`;
      events.normal('PersistentVolumeClaim', claim, 'NodeUnselected', text);
    }
    return outcome;
  }
}

function notNow(outcome: Outcome): PreparedSource {
  return { kind: 'not-now', outcome };
}
