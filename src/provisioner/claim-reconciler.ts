import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import { messageOf } from '../model/errors.ts';
import type { Metrics } from '../model/metrics.ts';
import type { VolumeLedger } from '../model/volume-ledger.ts';
import { logFacts, uidOf, volumeNameFor } from '../claims/claim-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import type { ClaimGate } from './adoption/claim-gate.ts';
import { decideProvision, type ProvisionDecision } from './decide-provision.ts';
import { retryAfter } from './failed-turn.ts';
import { lookUp } from '../kube/look-up.ts';
import type { OutcomeEvents } from './outcome-events.ts';
import { SourcePreparation } from './prepare-source.ts';
import type { SourceProtection } from './protect-source.ts';
import { ClaimProvisioning, type ProvisioningOptions } from './provision-claim.ts';
import { ProvisionReports } from './provision-reports.ts';
import { IntentSettler } from './settle-intent.ts';
import type { SharedHandles } from './reclaim/shared-handles.ts';
import { standsFor } from '../claims/volume-facts.ts';

/** A claim that waits only for fresh watches is looked at again this soon. */
const staleRecheckMs = 200;
/** The store still has to hear what a live look has shown. */
const lagMs = 500;
/** A claim outside a scoped watch changes without a word; so often it is asked what became of it, while something is begun for it. */
export const outsideMs = 30_000;

export interface ClaimReconcilerOptions extends Omit<
  ProvisioningOptions,
  'settler' | 'redecide' | 'reports' | 'sources'
> {
  readonly ledger?: VolumeLedger | undefined;
  readonly events: OutcomeEvents;
  readonly metrics: Metrics;
  readonly early: boolean;
  readonly sharedHandles: SharedHandles;
  readonly protection: SourceProtection;
  /** unset: no claim has had a volume before */
  readonly gate?: Pick<ClaimGate, 'whyNot'> | undefined;
}

/**
 * Brings one claim to its volume, or what was begun for it to an end. Its key is the claim's uid, so that a claim made anew under the
 * same name is another one, and so that everything about one volume happens one after the other.
 */
export class ClaimReconciler {
  readonly #options: ClaimReconcilerOptions;
  readonly #settler: IntentSettler;
  readonly #reports: ProvisionReports;
  readonly #sources: SourcePreparation;
  readonly #provisioning: ClaimProvisioning;

  constructor(options: ClaimReconcilerOptions) {
    this.#options = options;
    this.#settler = new IntentSettler(options);
    this.#reports = new ProvisionReports(options);
    const [settler, reports] = [this.#settler, this.#reports];
    this.#sources = new SourcePreparation({ ...options, settler, reports });
    this.#provisioning = new ClaimProvisioning({
      ...options,
      reports,
      settler,
      sources: this.#sources,
      redecide: (claim, storageClass) => this.#decide(claim, storageClass),
    });
  }

  /** Something became of what claims may be made of. @returns those that waited for it */
  sourceChanged(ref: SourceRef): readonly string[] {
    return this.#sources.sourceChanged(ref);
  }

  async reconcile(claimUid: string, signal: AbortSignal): Promise<Outcome> {
    try {
      const claim = this.#options.watches.claimByUid(claimUid);
      const outcome =
        claim === undefined ? await this.#absent(claimUid, signal) : await this.#present(claim, signal);
      if (outcome.kind === 'done' && !this.#options.intents.has(claimUid)) {
        this.#sources.forget(claimUid);
        this.#reports.forget(claimUid);
      }
      return outcome;
    } catch (error) {
      if (signal.aborted) return { kind: 'done' };
      this.#options.log.warn(
        { claimUid, err: messageOf(error) },
        'a claim could not be worked on; trying again',
      );
      return retryAfter(error);
    }
  }

  /** The store has no such claim. What was begun for it is undone, once the API server agrees; else it is gone on with. */
  async #absent(claimUid: string, signal: AbortSignal): Promise<Outcome> {
    const { intents, slow, events, watches, api } = this.#options;
    const intent = intents.get(claimUid);
    if (intent === undefined) {
      slow.forget(claimUid);
      events.forget(claimUid);
      return { kind: 'done' };
    }
    const live = await lookUp(api, 'PersistentVolumeClaim', intent.claim, signal);
    if (live === undefined || uidOf(live) !== claimUid)
      return this.#settler.settle(intent, undefined, 'the claim is gone', signal);
    if (!watches.isScoped) return { kind: 'retry', afterMs: lagMs };
    // only its label is gone, which is an index: whose claim it is stands in its annotation
    const outcome = await this.#present(live, signal);
    return outcome.kind === 'done' && intents.has(claimUid) ? { kind: 'retry', afterMs: outsideMs } : outcome;
  }

  async #present(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<Outcome> {
    const decision = this.#decide(claim);
    if (decision.kind !== 'provision') return this.#follow(decision, claim, signal);
    return this.#provisioning.provision(claim, decision.storageClass, decision.source, signal);
  }

  /** What every decision but *provision* means. */
  async #follow(
    decision: Exclude<ProvisionDecision, { kind: 'provision' }>,
    claim: PersistentVolumeClaim,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { events, log, intents, own } = this.#options;
    const facts = logFacts({
      namespace: claim.metadata.namespace ?? '',
      name: claim.metadata.name,
      uid: uidOf(claim),
    });
    log.debug({ ...facts, decision: decision.kind }, decision.reason);
    const intent = intents.get(uidOf(claim));
    switch (decision.kind) {
      case 'ignore':
        return intent === undefined
          ? { kind: 'done' }
          : this.#settler.settle(intent, claim, decision.reason, signal);
      case 'existing': {
        if (intent === undefined) return { kind: 'done' };
        const known = intent.volume;
        if (known === undefined || !standsFor(decision.volume, known, own.driverName)) {
          const why = `another volume is called ${decision.volume.metadata.name}`;
          return this.#settler.settle(intent, claim, why, signal);
        }
        const outcome = await this.#settler.confirm(intent, known.volumeId);
        if (outcome.kind === 'done') this.#toldLate(claim, decision.volume, known.volumeId);
        return outcome;
      }
      case 'wait':
        return decision.looksAgain
          ? { kind: 'retry', afterMs: decision.afterMs ?? staleRecheckMs }
          : { kind: 'done' };
      case 'retry':
        this.#reports.countFailure(claim, '');
        return { kind: 'retry' };
      case 'populator':
        events.normal('PersistentVolumeClaim', claim, 'Provisioning', decision.reason);
        return intent === undefined
          ? { kind: 'done' }
          : this.#settler.settle(intent, claim, decision.reason, signal);
      case 'refuse':
        return this.#provisioning.refused(claim, decision.storageClass.metadata.name, decision.reason);
    }
  }

  /** The PV exists after an attempt that never heard of it: its answer was lost, or its process died. */
  #toldLate(claim: PersistentVolumeClaim, volume: PersistentVolume, volumeId: string): void {
    const made = { persistentVolume: volume.metadata.name, volumeId };
    this.#reports.succeeded(claim, volume.spec.storageClassName ?? '', made);
  }

  /** @param storageClass the class that an attempt began with; unset: the one that is there now */
  #decide(claim: PersistentVolumeClaim, storageClass?: StorageClass): ProvisionDecision {
    const { watches, own, intents, capabilities, early, immediateOnThisNode } = this.#options;
    return decideProvision({
      claim,
      storageClass: storageClass ?? watches.classOf(claim),
      own,
      early,
      immediateOnThisNode,
      capabilities,
      hasIntent: intents.has(uidOf(claim)),
      existing: watches.volume(volumeNameFor(uidOf(claim))),
      claimVolumes: watches.volumesNaming(claim),
      freeVolumes: watches.freeVolumesFor(claim),
      heldBack: this.#options.gate?.whyNot(claim),
      watchesAreLive: watches.areLive(),
      watchesAreScoped: watches.isScoped,
    });
  }
}
