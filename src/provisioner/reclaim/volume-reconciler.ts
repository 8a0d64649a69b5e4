import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import { claimKey, uidOf } from '../../claims/claim-facts.ts';
import { conflictMs, endFailedTurn } from '../failed-turn.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import { isMarked, type ClaimFate, type ReclaimDecision } from './decide-reclaim.ts';
import type { VolumeDestruction } from './destroy-volume.ts';
import { findIgnoredSource } from './ignored-source.ts';
import type { VolumeRecycling } from './recycle-volume.ts';
import type { RefusedEnds } from './refused-ends.ts';
import type { RetainedVolumes } from './retained-volumes.ts';
import type { VolumeJudge } from './judge-volume.ts';
import type { StandDown } from './stand-down.ts';
import type { VolumeWrites } from './volume-writes.ts';

/** The PV as it was read last is in the store already. */
const changedMs = 20;
/** A machine that slept, or whose clock was set, notices a retention's end no later than this. */
const longestWaitMs = 60 * 60_000;

type Ending = Extract<ReclaimDecision, { kind: 'reclaim' | 'recycle' }>;
type Retaining = Extract<ReclaimDecision, { kind: 'retain' }>;
type Leaving = Exclude<ReclaimDecision, Ending | Retaining | { kind: 'adopt-recycle' }>;

export interface VolumeReconcilerOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly judge: VolumeJudge;
  readonly writes: VolumeWrites;
  readonly destruction: VolumeDestruction;
  readonly recycling: VolumeRecycling;
  readonly refusals: RefusedEnds;
  readonly standDown: StandDown;
  readonly retained: RetainedVolumes;
  readonly events: OutcomeEvents;
  /** a claim of this cluster has it: the record of one that another cluster made says so from now on */
  readonly takeOver: (volume: PersistentVolume, signal: AbortSignal) => Promise<void>;
  /** keeps a volume from being staged anew until the returned function is called; VolumeLedger's, or nothing */
  readonly close: (volumeId: string) => () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps one PV's finalizer right and brings its volume to its end when its claim is gone: destroyed, emptied, or retained for a while.
 *
 * Nothing is destroyed without, in this order: a mark on the PV that could only be put on the PV as it was judged; a live look at the
 * claim; and, with the volume closed to whoever would stage it, a live look at the PV. An admin who clears claimRef, an undelete and a new
 * tenant thereby come before the mark, which then fails, or before the last look, which then sees them, or after that: too late to have
 * written anything (StandDown tells them). A driver of other people cannot be closed: there a tenant who binds, stages, writes and unstages
 * between our look and our call is not seen.
 */
export class VolumeReconciler {
  readonly #options: VolumeReconcilerOptions;

  constructor(options: VolumeReconcilerOptions) {
    this.#options = options;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { watches, log } = this.#options;
    try {
      const volume = watches.volume(name);
      if (volume !== undefined) return await this.#present(volume, signal);
      this.#forget(name);
      return { kind: 'done' };
    } catch (error) {
      return endFailedTurn(error, signal, (err) =>
        log.warn({ persistentVolume: name, err }, 'a PV could not be worked on; trying again'),
      );
    }
  }

  #forget(name: string): void {
    const { destruction, refusals, retained } = this.#options;
    destruction.forget(name);
    refusals.forget(name);
    retained.forget(name);
  }

  async #present(known: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    const { destruction, retained, writes, events, judge } = this.#options;
    if (judge.decide(known).kind === 'ignore' || destruction.isDone(known)) {
      retained.forget(known.metadata.name);
      return { kind: 'done' };
    }
    const volume = await writes.syncFinalizer(known, signal);
    const decision = await judge.decideSharing(volume, signal);
    retained.note(volume, decision);
    switch (decision.kind) {
      case 'reclaim':
      case 'recycle':
        return this.#end(volume, decision, signal);
      case 'retain':
        return this.#retain(volume, decision, signal);
      case 'adopt-recycle': {
        const adopted = await writes.adoptRecycle(volume, signal);
        const text =
          'reclaim policy Recycle is served as Retain with the annotation loam.dev/on-release: recycle';
        events.normal('PersistentVolume', volume, 'RecycleAdopted', text);
        return this.#present(adopted, signal);
      }
      default:
        return this.#leave(volume, decision, signal);
    }
  }

  async #end(volume: PersistentVolume, decision: Ending, signal: AbortSignal): Promise<Outcome> {
    const { writes, judge } = this.#options;
    // a mark that has to be taken off again would wake this PV, again and again
    const known = await judge.knownFate(volume, decision, signal);
    if (known !== undefined) return this.#claimThere(volume, known, signal);
    const marked = await writes.mark(volume, decision.claim.uid, signal);
    const fate = await judge.liveFate(marked, decision, signal);
    if (fate.kind !== 'gone') return this.#claimThere(marked, fate, signal);
    // whoever gets the PV from here on cannot write to it before it is decided
    const open = this.#options.close(decision.volumeId);
    try {
      return await this.#endClosed(volume, decision, fate.reason, signal);
    } finally {
      open();
    }
  }

  async #endClosed(
    volume: PersistentVolume,
    decision: Ending,
    why: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { api, watches, log, destruction, recycling, judge } = this.#options;
    // after the mark: somebody may have thought better of it, or given the PV away in spite of it
    const now = await api.get('PersistentVolume', { name: volume.metadata.name }, signal);
    watches.putVolume(now);
    const still = await judge.decideLast(now, signal);
    const { claim, volumeId, reason } = decision;
    const isSame = still.kind === decision.kind && still.claim.uid === claim.uid && isMarked(now, claim.uid);
    if (!isSame || uidOf(now) !== uidOf(volume)) {
      // what another PV has too is known to the store only when the watch has told
      return { kind: 'retry', afterMs: still.kind === 'shared' ? conflictMs : changedMs };
    }
    const facts = { persistentVolume: now.metadata.name, volumeId, claim: claimKey(claim) };
    log.info({ ...facts, claimUid: claim.uid }, `${decision.kind}: ${reason}, ${why}`);
    return decision.kind === 'reclaim'
      ? destruction.destroy(now, claim, signal)
      : recycling.recycle(now, claim, signal);
  }

  /** Nothing but the annotation and an Event, until the time has come. */
  async #retain(volume: PersistentVolume, decision: Retaining, signal: AbortSignal): Promise<Outcome> {
    const { writes, events, clock, standDown, retained, judge } = this.#options;
    const { claim, untilMs } = decision;
    let noted = volume;
    if (!decision.isNoted) {
      const known = await judge.knownFate(volume, decision, signal);
      if (known !== undefined) return this.#claimThere(volume, known, signal);
      const fate = await judge.liveFate(volume, decision, signal);
      if (fate.kind !== 'gone') return this.#claimThere(volume, fate, signal);
      noted = await writes.retain(volume, untilMs, signal);
      retained.note(noted, { ...decision, isNoted: true });
    }
    // of an attempt to reclaim it, before its end was moved
    const outcome = await standDown.standDown(noted, signal);
    if (outcome.kind === 'retry') return outcome;
    const { name } = volume.metadata;
    const next = decision.next === 'reclaim' ? 'deleted' : 'recycled';
    const text = `retained until ${new Date(untilMs).toISOString()}, then ${next}; to give it back to claim ${claimKey(claim)}: loam undelete ${name}; to another: loam undelete ${name} --to namespace/name`;
    events.normal('PersistentVolume', volume, 'VolumeRetained', text);
    return { kind: 'retry', afterMs: Math.min(Math.max(untilMs - clock.nowMs(), 1), longestWaitMs) };
  }

  /** Nothing to destroy, for now or for good. */
  async #leave(volume: PersistentVolume, decision: Leaving, signal: AbortSignal): Promise<Outcome> {
    const { events, watches, writes, standDown } = this.#options;
    if (decision.kind === 'ignore') return { kind: 'done' };
    if (decision.kind === 'unclear') {
      const reason = decision.isRecycle ? 'VolumeFailedRecycle' : 'VolumeFailedDelete';
      events.warning('PersistentVolume', volume, reason, decision.reason);
    }
    const isGoing = volume.metadata.deletionTimestamp !== undefined;
    if (volume.status?.phase === 'Bound') await this.#options.takeOver(volume, signal);
    if (decision.kind === 'shared') {
      if (isGoing) {
        // undeleted as another PV, which looks after the data from now on
        await writes.letGo(volume, signal);
        return { kind: 'done' };
      }
      events.warning('PersistentVolume', volume, 'VolumeFailedDelete', decision.reason);
    }
    const outcome = await standDown.standDown(volume, signal);
    if (outcome.kind === 'retry') return outcome;
    if (decision.kind === 'keep') await this.#tidy(volume, isGoing, signal);
    // the end of a PV without the label is not heard of
    if (decision.kind === 'shared' && watches.isScoped) return { kind: 'retry' };
    return { kind: 'done' };
  }

  /** What is left of an earlier end on a PV that is somebody's again, or stays. */
  async #tidy(volume: PersistentVolume, isGoing: boolean, signal: AbortSignal): Promise<void> {
    const { watches, events, writes } = this.#options;
    const current = watches.volume(volume.metadata.name) ?? volume;
    if (!isGoing && uidOf(current) === uidOf(volume)) await writes.unretain(current, signal);
    const ignored = findIgnoredSource(volume, watches);
    if (ignored === undefined) return;
    events.warning('PersistentVolumeClaim', ignored.claim, 'DataSourceIgnored', ignored.reason);
  }

  /** Who asks for a volume of an earlier claim hears from Kubernetes only that it is bound to a different one. */
  #tellAsking({ metadata: { name: volumeName }, spec: { claimRef } }: PersistentVolume): void {
    const { watches, events } = this.#options;
    const { namespace = '', name = '' } = claimRef ?? {};
    const claim = watches.claim({ namespace, name });
    const kept = `PersistentVolume ${volumeName} was an earlier claim's of this name, and its data is kept; loam undelete ${volumeName} gives it to this claim`;
    if (claim !== undefined) events.warning('PersistentVolumeClaim', claim, 'VolumeKept', kept);
  }

  /** The PV is Released, but its claim lives. Either the news are late, or the claim got another volume. */
  async #claimThere(volume: PersistentVolume, fate: ClaimFate, signal: AbortSignal): Promise<Outcome> {
    const { api, watches, events } = this.#options;
    if (fate.kind === 'asked-for') {
      // the binder writes the PV first, so that news of the claim may be ahead of ours of the PV
      const now = await api.get('PersistentVolume', { name: volume.metadata.name }, signal);
      watches.putVolume(now);
      if (now.metadata.resourceVersion !== volume.metadata.resourceVersion)
        return { kind: 'retry', afterMs: changedMs };
      this.#tellAsking(now);
    }
    if (fate.kind === 'bound-elsewhere' || fate.kind === 'asked-for')
      events.warning('PersistentVolume', volume, 'VolumeFailedDelete', fate.reason);
    const outcome = await this.#options.standDown.standDown(volume, signal);
    // the claim's end wakes this PV
    return outcome.kind === 'retry' ? outcome : { kind: 'retry' };
  }
}
