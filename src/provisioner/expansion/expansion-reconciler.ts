import type { EventReason } from '../../claims/event-reasons.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import { claimRefOf, logFacts, uidOf } from '../../claims/claim-facts.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { Clock } from '../../model/clock.ts';
import type { ControllerCapability, ExpandedVolume } from '../../model/csi-driver.ts';
import type { Log } from '../../model/log.ts';
import { formatBytes } from '../../model/quantity.ts';
import { isFinal, isGrowthInfeasible } from '../decide-certainty.ts';
import { describeDriverError, type DriverCalls } from '../driver-calls.ts';
import { FailedAttempts } from '../failed-attempts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import { VersionedWrites } from '../versioned-writes.ts';
import type { ClusterView } from '../watches.ts';
import { decideExpansion, type ExpansionDecision } from './decide-expansion.ts';
import * as patches from './expansion-patches.ts';
import { capabilityOf } from './volume-capability.ts';

/** A size that the pool did not have is tried again when space comes free, but not more often. */
const impatienceMs = 30_000;

export interface ExpansionOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly calls: DriverCalls;
  readonly own: OwnSide;
  /** remembers what was said of growth, and of nothing else */
  readonly events: OutcomeEvents;
  /** as they are now: without EXPAND_VOLUME the driver's controller half is not asked */
  readonly capabilities: ReadonlySet<ControllerCapability>;
  /** a driver without EXPAND_VOLUME grows volumes on kubelet's call; false: such a one cannot grow them */
  readonly kubeletExpands: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

type Growth = Extract<ExpansionDecision, { kind: 'expand' }>;

/**
 * Brings one claim's growth to its end: the claim says what is attempted, the driver grows the volume, the PV says what it has, and last
 * the claim. After a crash between any two of these the same size is asked for again, which changes nothing that is done.
 */
export class ExpansionReconciler {
  readonly #options: ExpansionOptions;
  /** by size: another size is tried at once */
  readonly #failures: FailedAttempts;
  readonly #writes: VersionedWrites;
  /** claims that rest, and since when */
  readonly #restingSinceMs = new Map<string, number>();

  constructor(options: ExpansionOptions) {
    this.#options = options;
    this.#failures = new FailedAttempts(options.clock);
    this.#writes = new VersionedWrites(options);
  }

  /** The claim is gone. */
  forget(claimUid: string): void {
    this.#forgetFailure(claimUid);
    this.#options.events.forget(claimUid);
  }

  /** Space came free: claims whose size could not be had need not rest any longer. @returns them */
  takeResting(): readonly string[] {
    const latestMs = this.#options.clock.nowMs() - impatienceMs;
    const due = [...this.#restingSinceMs].filter(([, sinceMs]) => sinceMs <= latestMs);
    for (const [uid] of due) {
      this.#failures.endRest(uid);
      this.#restingSinceMs.delete(uid);
    }
    return due.map(([uid]) => uid);
  }

  async reconcile(claimUid: string, signal: AbortSignal): Promise<Outcome> {
    const claim = this.#options.watches.claimByUid(claimUid);
    if (claim === undefined) return { kind: 'done' };
    try {
      return await this.#present(claim, signal);
    } catch (error) {
      return this.#writes.recover(error, claim, "a claim's growth", signal);
    }
  }

  async #present(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<Outcome> {
    const { watches, kubeletExpands } = this.#options;
    const controllerExpands = this.#can('EXPAND_VOLUME');
    // looked at again when the driver can
    if (!controllerExpands && !kubeletExpands) return { kind: 'done' };
    const volume = watches.volume(claim.spec.volumeName ?? '');
    const decision = decideExpansion({
      ...this.#options,
      claim,
      volume,
      controllerExpands,
      lastErrorWasFinal: this.#failures.endedFinally(uidOf(claim)),
    });
    if (volume === undefined || decision.kind === 'ignore') return { kind: 'done' };
    if (decision.kind === 'tidy') {
      await this.#writes.volume(volume, patches.tidyPatch(volume), signal);
      return { kind: 'done' };
    }
    const restMs = decision.isRecorded ? this.#failures.restMs(uidOf(claim), keyOf(decision)) : 0;
    if (restMs > 0) return { kind: 'retry', afterMs: restMs };
    return this.#grow(claim, volume, decision, signal);
  }

  async #grow(
    known: PersistentVolumeClaim,
    volume: PersistentVolume,
    growth: Growth,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, events, log } = this.#options;
    const { target, state, isRecorded } = growth;
    const startMs = clock.nowMs();
    const beginning = patches.beginningPatch(known, target, { isRecorded, status: state.status }, startMs);
    const claim = await this.#writes.claimStatus(known, beginning, signal);
    // each size is news, though the words are the same
    if (!isRecorded) events.forget(uidOf(claim));
    const text = `External resizer is resizing volume ${volume.metadata.name}`;
    events.normal('PersistentVolumeClaim', claim, 'Resizing', text);

    let grown: ExpandedVolume;
    try {
      grown = await this.#expand(volume, growth, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#failed(claim, volume, growth, error, signal);
    }
    this.#forgetFailure(uidOf(claim));
    // not what was read before the call, which may have taken long
    const volumeNow = this.#options.watches.volume(volume.metadata.name) ?? volume;
    const note = grown.nodeExpansionRequired ? state.has : undefined;
    await this.#writes.volume(volumeNow, patches.volumePatch(volumeNow, grown.capacityBytes, note), signal);
    await this.#tellClaim(claim, grown, signal);
    log.info(
      {
        ...logFacts(claimRefOf(claim)),
        persistentVolume: volume.metadata.name,
        capacityBytes: grown.capacityBytes,
        nodeExpansionRequired: grown.nodeExpansionRequired,
        elapsedMs: clock.nowMs() - startMs,
      },
      'grew a volume',
    );
    return { kind: 'done' };
  }

  /** @throws Error where the driver answers with less than it was asked for: such a PV could never satisfy its claim */
  async #expand(volume: PersistentVolume, { target }: Growth, signal: AbortSignal): Promise<ExpandedVolume> {
    const { calls } = this.#options;
    if (!this.#can('EXPAND_VOLUME')) return { capacityBytes: target.bytes, nodeExpansionRequired: true };
    const capability = capabilityOf(volume, this.#can('SINGLE_NODE_MULTI_WRITER'));
    const grown = await calls.expandVolume(
      {
        volumeId: volume.spec.csi?.volumeHandle ?? '',
        capacityRange: { requiredBytes: target.bytes, limitBytes: 0n },
        ...(capability === undefined ? {} : { capability }),
      },
      signal,
    );
    if (grown.capacityBytes === 0n) return { ...grown, capacityBytes: target.bytes };
    if (grown.capacityBytes >= target.bytes) return grown;
    const [has, wanted] = [formatBytes(grown.capacityBytes), formatBytes(target.bytes)];
    throw new Error(`the driver answered that the volume has ${has}, which is less than ${wanted}`);
  }

  /** The last word, to the claim. */
  async #tellClaim(
    marked: PersistentVolumeClaim,
    { capacityBytes, nodeExpansionRequired }: ExpandedVolume,
    signal: AbortSignal,
  ): Promise<void> {
    const { watches, events, clock } = this.#options;
    // a label or a new request that came meanwhile need not be in the way
    const now = watches.claimByUid(uidOf(marked)) ?? marked;
    const patch = nodeExpansionRequired
      ? patches.nodePendingPatch(now, clock.nowMs())
      : patches.finishedPatch(now, capacityBytes, clock.nowMs());
    const claim = await this.#writes.claimStatus(now, patch, signal);
    const [reason, text]: [EventReason, string] = nodeExpansionRequired
      ? ['FileSystemResizeRequired', 'Require file system resize of volume on node']
      : ['VolumeResizeSuccessful', 'Resize volume succeeded'];
    events.normal('PersistentVolumeClaim', claim, reason, text);
  }

  async #failed(
    claim: PersistentVolumeClaim,
    volume: PersistentVolume,
    growth: Growth,
    error: unknown,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { events, own, clock, log } = this.#options;
    const uid = uidOf(claim);
    const isInfeasible = isGrowthInfeasible(error);
    this.#failures.add(uid, keyOf(growth), { isFinal: isFinal(error), isInfeasible });
    if (isInfeasible) this.#restingSinceMs.set(uid, clock.nowMs());
    else this.#restingSinceMs.delete(uid);
    const text = describeDriverError(error);
    const told = `resize volume "${volume.metadata.name}" by resizer "${own.driverName}" failed: ${text}`;
    events.warning('PersistentVolumeClaim', claim, 'VolumeResizeFailed', told);
    const facts = { ...logFacts(claimRefOf(claim)), persistentVolume: volume.metadata.name, err: text };
    log.warn(
      facts,
      isInfeasible ? 'growth is infeasible; trying again slowly' : 'growth failed; trying again',
    );
    if (isFinal(error)) {
      const now = this.#options.watches.claimByUid(uid) ?? claim;
      const said = `failed to expand pvc with ${text}`;
      const patch = patches.failurePatch(now, said, { isInfeasible }, clock.nowMs());
      await this.#writes.claimStatus(now, patch, signal);
    }
    return this.#failures.retry(uid, keyOf(growth));
  }

  #can(capability: ControllerCapability): boolean {
    return this.#options.capabilities.has(capability);
  }

  #forgetFailure(claimUid: string): void {
    this.#failures.forget(claimUid);
    this.#restingSinceMs.delete(claimUid);
  }
}

function keyOf({ target }: Growth): string {
  return String(target.bytes);
}
