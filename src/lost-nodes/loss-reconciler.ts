import { nodeLostSince, onNodeLoss, poolMissing } from '../claims/annotations.ts';
import { uidOf } from '../claims/claim-facts.ts';
import { tombstoneName } from '../claims/tombstone.ts';
import { topologyValueOf } from '../claims/volume-facts.ts';
import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { poolUuidKey } from '../model/volume.ts';
import { decideLoss, type AllowedLoss, type LossDecision, type NodePresence } from './decide-loss.ts';
import type { LossReports } from './loss-reports.ts';
import type { LossWrites } from './loss-writes.ts';
import type { MarksSeen } from './marks-seen.ts';
import { livePresence, presenceOf } from './node-presence.ts';
import { asksForSomething } from './project.ts';
import type { Recreation } from './recreation.ts';
import type { LossWatches } from './watches.ts';

/** Timers count to 24 days, and what stands on the PV may change meanwhile. */
const longestWaitMs = 60 * 60_000;

interface LossReconcilerOptions {
  readonly api: KubeApi;
  readonly watches: LossWatches;
  readonly marks: MarksSeen;
  readonly writes: LossWrites;
  readonly reports: LossReports;
  readonly recreation: Recreation;
  readonly allowed: AllowedLoss;
  readonly clock: Clock;
  readonly log: Log;
}

/** Marks the PVs of nodes that are not there, takes the marks off again, and hands on what was lost for long enough. */
export class LossReconciler {
  readonly #options: LossReconcilerOptions;
  /** PV name → tombstone of a claim that is yet to be made anew, be the PV there or not */
  readonly #pending = new Map<string, string>();

  constructor(options: LossReconcilerOptions) {
    this.#options = options;
  }

  /** What an earlier process began. */
  resume(volumeName: string, tombstone: string): void {
    this.#pending.set(volumeName, tombstone);
  }

  /** @param name of a PV */
  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    try {
      const pending = this.#pending.get(name);
      if (pending !== undefined) return await this.#carryOn(name, pending, signal);
      const volume = this.#options.watches.volume(name);
      if (volume === undefined || !asksForSomething(volume)) return { kind: 'done' };
      await this.#options.watches.needNodes(signal);
      return await this.#judge(volume, signal);
    } catch (error) {
      if (signal.aborted || isNotFound(error)) return { kind: 'done' };
      // somebody wrote first, and the watch brings what
      if (isConflict(error)) return { kind: 'retry' };
      throw error;
    }
  }

  async #judge(volume: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    const { watches, marks, writes, reports, log } = this.#options;
    const { name } = volume.metadata;
    const decision = this.#decideKnown(volume);
    switch (decision.kind) {
      case 'keep':
        if (!decision.hasStaleMark) return { kind: 'done' };
        marks.taking(uidOf(volume));
        watches.putVolume(await writes.mark(volume, undefined, signal));
        log.info({ persistentVolume: name, reason: decision.reason }, 'nothing became of a lost node');
        return { kind: 'done' };
      case 'unreadable':
        reports.unreadable(volume, decision.reason);
        return { kind: 'done' };
      case 'not-allowed':
        reports.notAllowed(volume, decision.reason);
        return { kind: 'done' };
      case 'mark':
        watches.putVolume(await writes.mark(volume, decision.sinceMs, signal));
        reports.marked(volume, decision.reason, decision.policy);
        log.warn(
          { persistentVolume: name, reason: decision.reason },
          "a PV's node is not there; its time runs",
        );
        return { kind: 'done' };
      case 'wait':
        return { kind: 'retry', afterMs: Math.min(decision.afterMs, longestWaitMs) };
      case 'lost':
        return this.#lost(volume, signal);
    }
  }

  /** All that was known may be a moment old. */
  async #lost({ metadata }: PersistentVolume, signal: AbortSignal): Promise<Outcome> {
    const { api, recreation } = this.#options;
    const volume = await lookUp(api, 'PersistentVolume', { name: metadata.name }, signal);
    const ref = volume?.spec.claimRef;
    const csi = volume?.spec.csi;
    if (volume === undefined || csi === undefined || uidOf(volume) !== uidOf({ metadata }))
      return { kind: 'done' };
    // never a claim's, or kept for one that is still to come
    if ((ref?.uid ?? '') === '') return { kind: 'done' };
    const subject = {
      volumeName: metadata.name,
      volumeUid: uidOf(volume),
      claimRef: { namespace: ref?.namespace ?? '', name: ref?.name ?? '', uid: ref?.uid ?? '' },
      topologyValue: topologyValueOf(volume) ?? '',
      tombstone: tombstoneName({
        driverName: csi.driver,
        volumeId: csi.volumeHandle,
        poolUuid: csi.volumeAttributes?.[poolUuidKey] ?? '',
      }),
    };
    return this.#settle(
      await recreation.run(subject, (live) => this.#decideLive(live, signal), signal),
      subject,
    );
  }

  async #carryOn(name: string, tombstone: string, signal: AbortSignal): Promise<Outcome> {
    const { watches, writes, recreation } = this.#options;
    const found = await writes.tombstone(tombstone, signal);
    if (found?.stone.recreation !== 'pending') {
      this.#pending.delete(name);
      return { kind: 'retry', afterMs: 0 };
    }
    await watches.needNodes(signal);
    const volume = watches.volume(name);
    // its mark is kept right meanwhile: a node may come back and be lost again
    if (volume !== undefined && asksForSomething(volume)) {
      const decision = this.#decideKnown(volume);
      if (decision.kind === 'mark' || decision.kind === 'keep') await this.#judge(volume, signal);
    }
    const { volumeName, volumeUid, claim, topologyValue } = found.stone;
    const subject = { volumeName, volumeUid, claimRef: claim, topologyValue, tombstone };
    const run = await recreation.run(subject, (live) => this.#decideLive(live, signal), signal);
    const outcome = this.#settle(run, subject);
    // the PV, if it is there, is judged as any
    return run.isPending ? outcome : { kind: 'retry', afterMs: 0 };
  }

  #settle(
    { outcome, isPending }: { readonly outcome: Outcome; readonly isPending: boolean },
    { volumeName, tombstone }: { readonly volumeName: string; readonly tombstone: string },
  ): Outcome {
    if (isPending) this.#pending.set(volumeName, tombstone);
    else this.#pending.delete(volumeName);
    return outcome.kind === 'retry' && outcome.afterMs !== undefined
      ? { kind: 'retry', afterMs: Math.min(outcome.afterMs, longestWaitMs) }
      : outcome;
  }

  #decideKnown(volume: PersistentVolume): LossDecision {
    const { watches } = this.#options;
    const value = topologyValueOf(volume) ?? '';
    return this.#decide(volume, presenceOf(watches.nodesOf(value), watches.registeredAs(value)));
  }

  async #decideLive(volume: PersistentVolume, signal: AbortSignal): Promise<LossDecision> {
    const { api, watches } = this.#options;
    const value = topologyValueOf(volume) ?? '';
    return this.#decide(volume, await livePresence(api, value, watches.registeredAs(value), signal));
  }

  #decide(volume: PersistentVolume, presence: NodePresence): LossDecision {
    const { marks, clock } = this.#options;
    const noted = volume.metadata.annotations ?? {};
    const uid = uidOf(volume);
    const value = topologyValueOf(volume);
    // a volume of no one node is lost with none
    const known: NodePresence = value === undefined ? { kind: 'there' } : presence;
    return decideLoss({
      nodeName: value ?? '(any)',
      presence: known,
      policyText: noted[onNodeLoss],
      lostSinceText: noted[nodeLostSince],
      poolMissingText: noted[poolMissing],
      objectedAtMs: marks.objectedAtMs(uid),
      markSeenMs: marks.markSeenMs(uid),
      allowed: this.#options.allowed,
      nowMs: clock.nowMs(),
    });
  }
}
