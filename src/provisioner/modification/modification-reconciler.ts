import type { EventReason } from '../../claims/event-reasons.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import { claimRefOf, logFacts, uidOf } from '../../claims/claim-facts.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import type { Clock } from '../../model/clock.ts';
import type { ControllerCapability } from '../../model/csi-driver.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import { statusCodeOf } from '../../model/status-code.ts';
import { isFinal } from '../decide-certainty.ts';
import { describeDriverError, grpcName, type DriverCalls } from '../driver-calls.ts';
import { FailedAttempts } from '../failed-attempts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import { VersionedWrites } from '../versioned-writes.ts';
import type { ClusterView } from '../watches.ts';
import type { AttributesClasses } from './attributes-classes.ts';
import { decideModification, type ModificationDecision } from './decide-modification.ts';
import * as patches from './modification-patches.ts';
import { splitAttributes } from './split-attributes.ts';

export interface ModificationOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly classes: Pick<AttributesClasses, 'get'>;
  readonly calls: DriverCalls;
  readonly own: OwnSide;
  /** as they are now: without MODIFY_VOLUME nothing is done */
  readonly capabilities: ReadonlySet<ControllerCapability>;
  /** remembers what was said of changes of attributes, and of nothing else */
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly log: Log;
}

type Change = Extract<ModificationDecision, { kind: 'modify' }>;

/**
 * Brings one claim's volume to its VolumeAttributesClass: the claim says what is attempted, the driver applies it, the PV says what it
 * has, and last the claim. After a crash between any two of these the same class is applied again, which changes nothing that is done.
 */
export class ModificationReconciler {
  readonly #options: ModificationOptions;
  /** by class: another one, or one made anew, is tried at once */
  readonly #failures: FailedAttempts;
  readonly #writes: VersionedWrites;

  constructor(options: ModificationOptions) {
    this.#options = options;
    this.#failures = new FailedAttempts(options.clock);
    this.#writes = new VersionedWrites(options);
  }

  /** The claim is gone. */
  forget(claimUid: string): void {
    this.#failures.forget(claimUid);
    this.#options.events.forget(claimUid);
  }

  async reconcile(claimUid: string, signal: AbortSignal): Promise<Outcome> {
    const claim = this.#options.watches.claimByUid(claimUid);
    // looked at again when the driver can
    if (claim === undefined || !this.#options.capabilities.has('MODIFY_VOLUME')) return { kind: 'done' };
    try {
      return await this.#present(claim, signal);
    } catch (error) {
      return this.#writes.recover(error, claim, "a claim's change of attributes", signal);
    }
  }

  async #present(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<Outcome> {
    const { watches, classes, events, clock } = this.#options;
    const uid = uidOf(claim);
    const volume = watches.volume(claim.spec.volumeName ?? '');
    const decision = decideModification({
      ...this.#options,
      claim,
      volume,
      classOf: (name) => classes.get(name),
      lastErrorWasFinal: this.#failures.endedFinally(uid),
    });
    if (volume === undefined || decision.kind === 'ignore') return { kind: 'done' };
    switch (decision.kind) {
      case 'cancel':
        await this.#writes.claimStatus(claim, patches.cancelPatch(claim, clock.nowMs()), signal);
        this.#failures.forget(uid);
        events.forget(uid);
        events.normal('PersistentVolumeClaim', claim, 'VolumeModifyCanceled', 'Cancelled modify.');
        return { kind: 'done' };
      case 'wait':
        if (decision.isNew)
          await this.#writes.claimStatus(claim, patches.pendingPatch(claim, decision.target), signal);
        events.warning('PersistentVolumeClaim', claim, 'VolumeModifyFailed', decision.reason);
        // the class's arrival wakes the claim; this is only in case nothing is heard of it
        return { kind: 'retry' };
      case 'modify': {
        const restMs = decision.isRecorded ? this.#failures.restMs(uid, uidOf(decision.attributes)) : 0;
        if (restMs > 0) return { kind: 'retry', afterMs: restMs };
        return this.#modify(claim, volume, decision, signal);
      }
    }
  }

  async #modify(
    known: PersistentVolumeClaim,
    volume: PersistentVolume,
    change: Change,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, events, calls, watches, log } = this.#options;
    const { attributes, isRecorded, isReturn } = change;
    const { name } = attributes.metadata;
    const uid = uidOf(known);
    let claim = known;
    if (!isRecorded) {
      claim = await this.#writes.claimStatus(
        known,
        patches.beginningPatch(known, name, clock.nowMs()),
        signal,
      );
      // each change is news, though the words may be the same
      events.forget(uid);
    }
    const beginning = `external resizer is modifying volume ${known.metadata.name} with vac ${name}`;
    events.normal('PersistentVolumeClaim', claim, 'VolumeModify', beginning);
    let retainFor: string | undefined;
    try {
      const volumeId = volume.spec.csi?.volumeHandle ?? '';
      const split = splitAttributes(attributes.parameters ?? {}, this.#options.own);
      retainFor = split.retainFor;
      await calls.modifyVolume({ volumeId, mutableParameters: split.forDriver }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#failed(claim, change, error, signal);
    }
    this.#failures.forget(uid);
    // not what was read before the call, which may have taken long
    const volumeNow = watches.volume(volume.metadata.name) ?? volume;
    await this.#writes.volume(volumeNow, patches.volumePatch(volumeNow, name, retainFor), signal);
    const claimNow = watches.claimByUid(uid) ?? claim;
    const done = await this.#writes.claimStatus(
      claimNow,
      patches.finishedPatch(claimNow, name, clock.nowMs()),
      signal,
    );
    const [reason, text]: [EventReason, string] = isReturn
      ? ['VolumeModifyCanceled', 'Cancelled modify.']
      : [
          'VolumeModifySuccessful',
          `external resizer modified volume ${known.metadata.name} with vac ${name} successfully`,
        ];
    events.normal('PersistentVolumeClaim', done, reason, text);
    const facts = { persistentVolume: volume.metadata.name, attributesClass: name };
    log.info({ ...logFacts(claimRefOf(claim)), ...facts }, "changed a volume's attributes");
    return { kind: 'done' };
  }

  async #failed(
    claim: PersistentVolumeClaim,
    { attributes }: Change,
    error: unknown,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { events, clock, log, watches } = this.#options;
    const uid = uidOf(claim);
    const { name } = attributes.metadata;
    const code = statusCodeOf(error);
    const isInfeasible = code === 'INVALID_ARGUMENT';
    this.#failures.add(uid, uidOf(attributes), { isFinal: isFinal(error), isInfeasible });
    const text = describeDriverError(error);
    const told = isFinal(error) ? text : `${text}. Still modifying to VAC ${name}`;
    events.warning('PersistentVolumeClaim', claim, 'VolumeModifyFailed', told);
    const facts = { ...logFacts(claimRefOf(claim)), attributesClass: name, err: text };
    const what = isInfeasible ? 'is infeasible; trying again slowly' : 'failed; trying again';
    log.warn(facts, `a change of attributes ${what}`);
    const now = watches.claimByUid(uid) ?? claim;
    const failure = {
      status: isInfeasible ? ('Infeasible' as const) : ('InProgress' as const),
      isFinal: isFinal(error),
      code: grpcName(code ?? 'UNKNOWN'),
      message: messageOf(error),
    };
    await this.#writes.claimStatus(now, patches.failurePatch(now, name, failure, clock.nowMs()), signal);
    return this.#failures.retry(uid, uidOf(attributes));
  }
}
