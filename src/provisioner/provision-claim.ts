import type { PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { ControllerCapability, CreateVolumeRequest, DriverVolume } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';
import { statusCodeOf } from '../model/status-code.ts';
import type { ContentSource } from '../model/volume.ts';
import { buildCreateRequest } from './build-create-request.ts';
import { claimRefOf, logFacts, selectedNodeOf, uidOf } from '../claims/claim-facts.ts';
import type { SourceRef } from '../claims/data-source.ts';
import { bindsImmediately } from '../claims/class-facts.ts';
import { decideState, isInfeasible } from './decide-state.ts';
import { describeDriverError, type DriverCalls } from './driver-calls.ts';
import { findAttributes } from './find-attributes.ts';
import { giveBack } from './give-back.ts';
import { splitAttributes } from './modification/split-attributes.ts';
import { identityOfContext, type Intents } from './intents.ts';
import type { SourcePreparation } from './prepare-source.ts';
import { VolumeSaving, type Attempt, type SavingOptions } from './save-volume.ts';
import type { SlowClaims } from './slow-claims.ts';

/** After our own leftover was deleted the name is free at once. */
const afterUndoMs = 10;
/** A driver that holds calls until their deadline tells so of the copy's end: it is asked again right away. */
const copyingMs = 100;
const heldMs = 1_000;

export interface ProvisioningOptions extends SavingOptions {
  readonly calls: DriverCalls;
  readonly intents: Intents;
  readonly slow: SlowClaims;
  readonly sources: SourcePreparation;
  readonly capabilities: ReadonlySet<ControllerCapability>;
  readonly clusterUid?: string | undefined;
  readonly immediateOnThisNode: boolean;
}

/** One attempt to give a claim its volume: ask the driver, look once more, write the PV. A crash anywhere is made good by the next. */
export class ClaimProvisioning {
  readonly #options: ProvisioningOptions;
  readonly #saving: VolumeSaving;

  constructor(options: ProvisioningOptions) {
    this.#options = options;
    this.#saving = new VolumeSaving(options);
  }

  async provision(
    claim: PersistentVolumeClaim,
    storageClass: StorageClass,
    source: SourceRef | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { slow, intents, own, clock, reports, api, sources } = this.#options;
    const restMs = slow.restMs(uidOf(claim), uidOf(storageClass));
    if (restMs > 0) return { kind: 'retry', afterMs: restMs };
    const attributes = await findAttributes(api, claim, own.driverName, signal);
    if (attributes.kind === 'refused')
      return this.refused(claim, storageClass.metadata.name, attributes.reason);
    let contentSource: ContentSource | undefined;
    if (source !== undefined) {
      const canMove = this.#canMove(claim, storageClass);
      const prepared = await sources.prepare({ claim, storageClass, source, canMove }, signal);
      if (prepared.kind === 'not-now') return prepared.outcome;
      contentSource = prepared.contentSource;
    }
    const found = attributes.mutableParameters;
    let retainFor: string | undefined;
    let mutableParameters = found;
    try {
      if (found !== undefined) ({ forDriver: mutableParameters, retainFor } = splitAttributes(found, own));
    } catch (error) {
      return this.refused(claim, storageClass.metadata.name, messageOf(error));
    }
    const asked = { claim, storageClass, own, contentSource, mutableParameters };
    const built = buildCreateRequest({ ...this.#options, ...asked });
    if (built.kind === 'refused') return this.refused(claim, storageClass.metadata.name, built.reason);
    const { request, fsType } = built;
    const intent = intents.begin(claimRefOf(claim), request);
    const takeBack = reports.beginning(claim);
    try {
      return await this.#attempt(
        { claim, storageClass, fsType, retainFor, intent, startMs: clock.nowMs() },
        request,
        signal,
      );
    } finally {
      takeBack();
    }
  }

  /** The claim or its class asks for what cannot be; somebody may change that, so it is tried again with back-off. */
  refused(claim: PersistentVolumeClaim, className: string, reason: string): Outcome {
    this.#options.reports.failed(claim, className, reason);
    return { kind: 'retry' };
  }

  async #attempt(attempt: Attempt, request: CreateVolumeRequest, signal: AbortSignal): Promise<Outcome> {
    let volume: DriverVolume;
    try {
      volume = await this.#options.calls.createVolume(request, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#createFailed(attempt, error, signal);
    }
    attempt.intent.volume = identityOfContext(volume.volumeId, volume.volumeContext);
    const { requiredBytes } = request.capacityRange;
    if (volume.capacityBytes !== 0n && volume.capacityBytes < requiredBytes) {
      const text = `created volume capacity ${formatBytes(volume.capacityBytes)} less than requested capacity ${formatBytes(requiredBytes)}`;
      return this.#unusable(attempt, volume, text, signal);
    }
    // an empty volume in a copy's place would be found out by whoever misses the data
    if (request.contentSource !== undefined && volume.contentSource === undefined) {
      const text =
        'the driver does not say that the volume was made of its data source; it was deleted again';
      return this.#unusable(attempt, volume, text, signal);
    }
    this.#options.slow.forget(attempt.intent.claim.uid);
    return this.#saving.save(attempt, volume, attempt.intent.volume, signal);
  }

  async #createFailed(attempt: Attempt, error: unknown, signal: AbortSignal): Promise<Outcome> {
    const { claim, storageClass, intent } = attempt;
    const { intents, slow, settler, own, reports, clock } = this.#options;
    const className = storageClass.metadata.name;
    const uid = uidOf(claim);
    const text = describeDriverError(error);
    const state = decideState(error, this.#canMove(claim, storageClass));
    if (intent.request?.contentSource !== undefined && statusCodeOf(error) === 'ABORTED') {
      reports.copying(claim, messageOf(error));
      // a driver that has held the call will hold the next one; one that answers at once is asked less and less often
      const wasHeld = clock.nowMs() - attempt.startMs >= heldMs;
      return wasHeld ? { kind: 'retry', afterMs: copyingMs } : { kind: 'retry' };
    }
    if (isInfeasible(error)) reports.infeasible(claim, className, text);
    else reports.failed(claim, className, text);
    if (state === 'in-background') return { kind: 'retry' };

    const leftover = own.ownDriver ? intents.recorded(uid) : undefined;
    if (leftover !== undefined && statusCodeOf(error) === 'ALREADY_EXISTS') {
      // begun with the parameters of a class that was made anew since
      const outcome = await settler.settle(intent, claim, 'its StorageClass has changed since', signal);
      return outcome.kind === 'done' ? { kind: 'retry', afterMs: afterUndoMs } : outcome;
    }
    // a driver that says for sure that there is nothing is taken at its word, unless its own records differ
    if (leftover === undefined) intents.end(uid);
    if (state === 'reschedule') return giveBack(this.#options, claim, signal);
    if (!isInfeasible(error)) return { kind: 'retry' };
    slow.add(uid, uidOf(storageClass));
    return { kind: 'retry', afterMs: slow.restMs(uid, uidOf(storageClass)) };
  }

  /** Whether another node would be chosen for the claim if this one gave it back. */
  #canMove(claim: PersistentVolumeClaim, storageClass: StorageClass): boolean {
    // a claim that binds at once goes back to placement; where there is none, it has nowhere else to go
    const hasChooser = !bindsImmediately(storageClass) || !this.#options.immediateOnThisNode;
    return hasChooser && selectedNodeOf(claim) !== undefined;
  }

  /** What the driver made is not what it was asked for. */
  async #unusable(
    attempt: Attempt,
    { volumeId, volumeContext }: DriverVolume,
    text: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { claim, storageClass, intent } = attempt;
    const { calls, log, reports } = this.#options;
    try {
      await calls.deleteVolume({ volumeId, volumeContext }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const facts = { ...logFacts(intent.claim), volumeId, err: describeDriverError(error) };
      log.warn(facts, 'a volume that is not what was asked for could not be deleted');
    }
    reports.failed(claim, storageClass.metadata.name, text);
    return { kind: 'retry' };
  }
}
