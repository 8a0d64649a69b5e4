import { ApiError, isConflict, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { reclaiming } from '../../claims/annotations.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import { decideFinalizer, finalizerPatch } from './decide-finalizer.ts';
import {
  decideClaimFate,
  decideReclaim,
  isMarked,
  type ClaimFate,
  type ReclaimDecision,
} from './decide-reclaim.ts';
import { lookUp } from '../../kube/look-up.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { VolumeDestruction } from './destroy-volume.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { SharedHandles } from './shared-handles.ts';
import type { ClusterView } from '../watches.ts';

/** The watch brings what was in our way; this is only in case it does not. */
const conflictMs = 1_000;

export interface VolumeReconcilerOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly own: OwnSide;
  readonly destruction: VolumeDestruction;
  readonly sharedHandles: SharedHandles;
  readonly events: OutcomeEvents;
  /** whether a volume may hold data; VolumeLedger's, or always true */
  readonly wasUsed: (volumeId: string) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Keeps one PV's finalizer right and reclaims it when its claim is gone. Nothing is destroyed without a mark on the PV that could only
 * be put on the PV as it was judged, and a live look at the claim after the mark.
 */
export class VolumeReconciler {
  readonly #options: VolumeReconcilerOptions;

  constructor(options: VolumeReconcilerOptions) {
    this.#options = options;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { watches, log, destruction } = this.#options;
    try {
      const volume = watches.volume(name);
      if (volume !== undefined) return await this.#present(volume, signal);
      destruction.forget(name);
      return { kind: 'done' };
    } catch (error) {
      if (signal.aborted || isNotFound(error)) return { kind: 'done' };
      if (isConflict(error)) return { kind: 'retry', afterMs: conflictMs };
      log.warn(
        { persistentVolume: name, err: messageOf(error) },
        'a PV could not be worked on; trying again',
      );
      const afterMs = error instanceof ApiError ? error.retryAfterMs : undefined;
      return afterMs === undefined ? { kind: 'retry' } : { kind: 'retry', afterMs };
    }
  }

  async #present(known: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    if (this.#decide(known).kind === 'ignore' || this.#options.destruction.isDone(known))
      return { kind: 'done' };
    const volume = await this.#syncFinalizer(known, signal);
    const decision = await this.#decideSharing(volume, signal);
    if (decision.kind !== 'reclaim') return this.#leave(volume, decision, signal);

    // a mark that has to be taken off again would wake this PV, again and again
    const claim = await this.#knownClaim(decision.claim, signal);
    if (claim !== undefined && uidOf(claim) === decision.claim.uid) {
      const fate = this.#fateOf(claim, decision, volume);
      if (fate.kind !== 'gone') return this.#claimThere(volume, fate, signal);
    }
    const marked = await this.#mark(volume, decision.claim, signal);
    // the answer is the PV as it is: somebody may have thought better of it
    const now = this.#decide(marked);
    if (now.kind !== 'reclaim') return this.#leave(marked, now, signal);
    const live = await lookUp(this.#options.api, 'PersistentVolumeClaim', now.claim, signal);
    const fate = this.#fateOf(live, now, marked);
    if (fate.kind !== 'gone') return this.#claimThere(marked, fate, signal);
    this.#options.log.info(
      {
        persistentVolume: marked.metadata.name,
        volumeId: now.volumeId,
        claim: claimKey(now.claim),
        claimUid: now.claim.uid,
      },
      `reclaiming: ${now.reason}, ${fate.reason}`,
    );
    return this.#options.destruction.destroy(marked, now.claim, signal);
  }

  #fateOf(
    claim: PersistentVolumeClaim | undefined,
    decision: Extract<ReclaimDecision, { kind: 'reclaim' }>,
    volume: PersistentVolume,
  ): ClaimFate {
    const wasUsed = this.#options.wasUsed(decision.volumeId);
    return decideClaimFate(claim, decision.claim, volume.metadata.name, wasUsed);
  }

  #decide(volume: PersistentVolume): ReclaimDecision {
    const { own, watches } = this.#options;
    const handle = volume.spec.csi?.volumeHandle;
    return decideReclaim(volume, own, handle === undefined ? [] : watches.volumesOfHandle(handle));
  }

  /** The same, after a look at whatever else may stand for the data. */
  async #decideSharing(volume: PersistentVolume, signal: AbortSignal): Promise<ReclaimDecision> {
    const { own, watches, sharedHandles } = this.#options;
    const decision = this.#decide(volume);
    if (decision.kind !== 'reclaim' || !watches.isScoped) return decision;
    return decideReclaim(volume, own, await sharedHandles.volumesOfHandle(decision.volumeId, signal));
  }

  /** From the store, else, where the store holds only claims with this node's label, from the API server. */
  async #knownClaim(claim: ClaimRef, signal: AbortSignal): Promise<PersistentVolumeClaim | undefined> {
    const { watches, api } = this.#options;
    const inStore = watches.claim(claim);
    return inStore === undefined && watches.isScoped
      ? lookUp(api, 'PersistentVolumeClaim', claim, signal)
      : inStore;
  }

  async #syncFinalizer(volume: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    const { kind } = decideFinalizer(volume);
    if (kind === 'keep') return volume;
    return this.#patch(volume, { type: 'strategic', body: finalizerPatch(kind) }, signal);
  }

  /** Nothing to destroy, for now or for good. */
  async #leave(
    volume: PersistentVolume,
    decision: Exclude<ReclaimDecision, { kind: 'reclaim' }>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    if (decision.kind === 'shared') {
      this.#options.events.warning('PersistentVolume', volume, 'VolumeFailedDelete', decision.reason);
    }
    const isGoing = volume.metadata.deletionTimestamp !== undefined;
    if (decision.kind !== 'ignore' && !isGoing) await this.#unmark(volume, signal);
    // the end of a PV without the label is not heard of
    if (decision.kind === 'shared' && this.#options.watches.isScoped) return { kind: 'retry' };
    return { kind: 'done' };
  }

  /** The PV is Released, but its claim lives. Either the news are late, or the claim got another volume. */
  async #claimThere(volume: PersistentVolume, fate: ClaimFate, signal: AbortSignal): Promise<Outcome> {
    if (fate.kind === 'bound-elsewhere') {
      this.#options.events.warning('PersistentVolume', volume, 'VolumeFailedDelete', fate.reason);
    }
    await this.#unmark(volume, signal);
    // the claim's end wakes this PV
    return { kind: 'retry' };
  }

  /** @throws ApiError Conflict where the PV is not any more what was judged */
  async #mark(volume: PersistentVolume, claim: ClaimRef, signal: AbortSignal): Promise<PersistentVolume> {
    // marked by an earlier attempt: what the policy says by now has to be read live
    if (isMarked(volume, claim.uid))
      return this.#options.api.get('PersistentVolume', { name: volume.metadata.name }, signal);
    return this.#annotate(volume, claim.uid, signal);
  }

  async #unmark(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    if (isMarked(volume)) await this.#annotate(volume, null, signal);
  }

  #annotate(volume: PersistentVolume, mark: string | null, signal: AbortSignal): Promise<PersistentVolume> {
    const { resourceVersion } = volume.metadata;
    const body = { metadata: { resourceVersion, annotations: { [reclaiming]: mark } } };
    return this.#patch(volume, { type: 'merge', body }, signal);
  }

  async #patch(
    volume: PersistentVolume,
    patch: Parameters<KubeApi['patch']>[2],
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    const { api, watches } = this.#options;
    const patched = await api.patch('PersistentVolume', { name: volume.metadata.name }, patch, signal);
    watches.putVolume(patched);
    return patched;
  }
}
