import { claimKey, logFacts, uidOf } from '../claims/claim-facts.ts';
import type { Tombstone } from '../claims/tombstone.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { type ClaimRef, poolUuidKey } from '../model/volume.ts';
import type { LossDecision } from './decide-loss.ts';
import { decideRecreation, type RecreationFacts, type RecreationStep } from './decide-recreation.ts';
import { decideVolumeEnd, type VolumeEnd } from './decide-volume-end.ts';
import type { LossReports } from './loss-reports.ts';
import type { FoundTombstone, LossWrites } from './loss-writes.ts';
import { recreatedClaim } from './recreated-claim.ts';

/** A PV that was lost, by what stays the same whatever becomes of it. */
export interface LostVolume {
  readonly volumeName: string;
  readonly volumeUid: string;
  readonly claimRef: ClaimRef;
  readonly topologyValue: string;
  /** the tombstone's name */
  readonly tombstone: string;
}

interface RecreationOptions {
  readonly api: KubeApi;
  readonly writes: LossWrites;
  readonly reports: LossReports;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

interface Look extends RecreationFacts {
  readonly found: FoundTombstone | undefined;
}

interface Run {
  readonly outcome: Outcome;
  /** a claim is yet to be made anew */
  readonly isPending: boolean;
}

/** More steps than there are: whoever takes as many goes round in circles. */
const mostSteps = 12;

/**
 * Lets go what was on a lost node, a step at a time; before each one everything is read anew, the Node too, and nothing is remembered
 * from one to the next but what stands in the API. The writes, in their order, and who has to be allowed them (the controller):
 *
 * 1. ConfigMap in Loam's namespace: create, with the claim's manifest where it is to be made anew (get, list, patch, delete as well)
 * 2. PersistentVolumeClaim: delete, where its data is given up (uid)
 * 3. Pod: list on the lost node, delete each that uses the claim (uid; grace 0 unless the node is there and only its disk is not)
 * 4. Event on the PV, PersistentVolume: delete (uid), patch: our finalizer off
 * 5. PersistentVolumeClaim: create, as it was asked for once; Event on it
 * 6. ConfigMap: patch, the claim is done; what is left is for the node, which deletes it
 */
export class Recreation {
  readonly #options: RecreationOptions;

  constructor(options: RecreationOptions) {
    this.#options = options;
  }

  /** As far as it goes now. @param decide whether the PV is lost, asked anew before each step */
  async run(
    subject: LostVolume,
    decide: (volume: PersistentVolume) => Promise<LossDecision>,
    signal: AbortSignal,
  ): Promise<Run> {
    for (let steps = 1; ; steps += 1) {
      signal.throwIfAborted();
      const look = await this.#look(subject, decide, signal);
      const step = decideRecreation(look);
      const isPending = look.tombstone?.recreation === 'pending';
      if (step.kind === 'leave') {
        if (step.tell && look.claim !== undefined && look.volume !== undefined)
          this.#options.reports.claimStays(look.claim, look.volume, step.reason);
        return { outcome: { kind: 'done' }, isPending };
      }
      if (step.kind === 'wait') return { outcome: retryAfter(step.afterMs), isPending };
      const { log, metrics } = this.#options;
      const facts = { ...logFacts(subject.claimRef), persistentVolume: subject.volumeName };
      log.warn({ ...facts, step: step.kind, reason: step.reason }, 'a lost node: letting go');
      metrics.count('loam_lost_node_steps_total', { step: step.kind });
      const goesOn = await this.#take(step, subject, look, signal);
      if (!goesOn || steps === mostSteps)
        return { outcome: { kind: 'retry' }, isPending: isPending || step.kind === 'write-tombstone' };
    }
  }

  async #look(
    { volumeName, volumeUid, claimRef, tombstone }: LostVolume,
    decide: (volume: PersistentVolume) => Promise<LossDecision>,
    signal: AbortSignal,
  ): Promise<Look> {
    const { api, writes, clock } = this.#options;
    const live = await lookUp(api, 'PersistentVolume', { name: volumeName }, signal);
    const volume = live === undefined || uidOf(live) !== volumeUid ? undefined : live;
    const found = await writes.tombstone(tombstone, signal);
    const isOwn = found?.stone.volumeUid === volumeUid;
    const claim = await lookUp(api, 'PersistentVolumeClaim', claimRef, signal);
    // last, as what all the rest follows from
    const loss = volume === undefined ? undefined : await decide(volume);
    const end: VolumeEnd =
      volume !== undefined && loss?.kind === 'lost'
        ? decideVolumeEnd(volume, loss.sinceMs, clock.nowMs())
        : { kind: 'not', reason: 'it is not lost' };
    return {
      volume,
      claimRef,
      claim,
      tombstone: isOwn ? found.stone : undefined,
      found: isOwn ? found : undefined,
      loss,
      end,
    };
  }

  /** @returns whether the next step can follow at once */
  async #take(
    step: Exclude<RecreationStep, { kind: 'wait' | 'leave' }>,
    subject: LostVolume,
    look: Look,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { writes, reports } = this.#options;
    const { volume, claim, found, loss } = look;
    switch (step.kind) {
      case 'write-tombstone':
        if (volume === undefined) return false;
        await writes.raise(this.#stoneOf(step.recreation, subject, look, volume, step.reason), signal);
        return true;
      case 'drop-tombstone':
        if (found !== undefined) await writes.drop(found, signal);
        return true;
      case 'delete-claim':
        if (claim !== undefined) await writes.deleteClaim(claim, signal);
        return true;
      case 'end-pods': {
        if (claim === undefined) return true;
        const pods = await writes.podsOf(claim, subject.topologyValue, signal);
        const isForced = loss?.kind === 'lost' && loss.cause !== 'pool-missing';
        for (const pod of pods.slice(0, 1)) await writes.endPod(pod, isForced, signal);
        // one a look, so that the node is asked for before each
        return pods.length > 1;
      }
      case 'release-volume':
        if (volume === undefined) return true;
        reports.released(volume, step.reason);
        await writes.removeVolume(volume, signal);
        return found?.stone.recreation === 'pending';
      case 'recreate-claim':
        if (found?.stone.manifest === undefined) return false;
        if (!(await writes.recreateClaim(found.stone.manifest, signal)))
          await writes.forgetClaim(found, signal);
        return true;
      case 'finish':
        if (claim !== undefined && found !== undefined) reports.recreated(claim, found.stone);
        await this.#finish(look, signal);
        return true;
    }
  }

  /** With its PV still there the PV says what is to become of the data, and not the tombstone. */
  async #finish({ found, volume }: Look, signal: AbortSignal): Promise<void> {
    if (found === undefined) return;
    const { writes, log } = this.#options;
    if (volume === undefined && found.stone.mayErase) await writes.close(found, signal);
    else await writes.drop(found, signal);
    const { claim, volumeName } = found.stone;
    log.info(
      { claim: claimKey(claim), persistentVolume: volumeName },
      'a claim of a lost node was seen through',
    );
  }

  #stoneOf(
    recreation: 'none' | 'pending',
    { volumeName, volumeUid, claimRef, topologyValue }: LostVolume,
    { claim }: Look,
    { spec }: PersistentVolume,
    why: string,
  ): Tombstone {
    const poolUuid = spec.csi?.volumeAttributes?.[poolUuidKey] ?? '';
    const manifest = recreation === 'pending' && claim !== undefined ? recreatedClaim(claim) : undefined;
    return {
      driverName: spec.csi?.driver ?? '',
      volumeId: spec.csi?.volumeHandle ?? '',
      poolUuid,
      topologyValue,
      volumeName,
      volumeUid,
      claim: claimRef,
      letGoAt: new Date(this.#options.clock.nowMs()).toISOString(),
      why,
      mayErase: (spec.persistentVolumeReclaimPolicy ?? 'Retain') === 'Delete' && poolUuid !== '',
      recreation,
      ...(manifest === undefined ? {} : { manifest }),
    };
  }
}

function retryAfter(afterMs: number | undefined): Outcome {
  return afterMs === undefined ? { kind: 'retry' } : { kind: 'retry', afterMs };
}
