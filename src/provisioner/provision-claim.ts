import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { ControllerCapability, CreateVolumeRequest, DriverVolume } from '../model/csi-driver.ts';
import { formatBytes } from '../model/quantity.ts';
import { statusCodeOf } from '../model/status-code.ts';
import { nodeLabel, selectedNode } from '../claims/annotations.ts';
import { buildCreateRequest } from './build-create-request.ts';
import { claimRefOf, logFacts, selectedNodeOf, uidOf } from '../claims/claim-facts.ts';
import { bindsImmediately } from '../claims/class-facts.ts';
import { decideState, isInfeasible } from './decide-state.ts';
import { describeDriverError, type DriverCalls } from './driver-calls.ts';
import { identityOfContext, type Intents } from './intents.ts';
import { VolumeSaving, type Attempt, type SavingOptions } from './save-volume.ts';
import type { SlowClaims } from './slow-claims.ts';

/** After our own leftover was deleted the name is free at once. */
const afterUndoMs = 10;

export interface ProvisioningOptions extends SavingOptions {
  readonly calls: DriverCalls;
  readonly intents: Intents;
  readonly slow: SlowClaims;
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
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { slow, intents, own, clock, reports } = this.#options;
    const restMs = slow.restMs(uidOf(claim), uidOf(storageClass));
    if (restMs > 0) return { kind: 'retry', afterMs: restMs };
    const built = buildCreateRequest({ ...this.#options, claim, storageClass, own });
    if (built.kind === 'refused') return this.refused(claim, storageClass.metadata.name, built.reason);
    const { request, fsType } = built;
    const intent = intents.begin(claimRefOf(claim), request);
    const takeBack = reports.beginning(claim);
    try {
      return await this.#attempt(
        { claim, storageClass, fsType, intent, startMs: clock.nowMs() },
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
      return this.#tooSmall(attempt, volume, requiredBytes, signal);
    }
    this.#options.slow.forget(attempt.intent.claim.uid);
    return this.#saving.save(attempt, volume, attempt.intent.volume, signal);
  }

  async #createFailed(attempt: Attempt, error: unknown, signal: AbortSignal): Promise<Outcome> {
    const { claim, storageClass, intent } = attempt;
    const { intents, slow, settler, own, reports } = this.#options;
    const className = storageClass.metadata.name;
    const uid = uidOf(claim);
    const text = describeDriverError(error);
    // a claim that binds at once goes back to placement; where there is none, it has nowhere else to go
    const hasChooser = !bindsImmediately(storageClass) || !this.#options.immediateOnThisNode;
    const canMove = hasChooser && selectedNodeOf(claim) !== undefined;
    const state = decideState(error, canMove);
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
    if (state === 'reschedule') return this.#reschedule(attempt, signal);
    if (!isInfeasible(error)) return { kind: 'retry' };
    slow.add(uid, uidOf(storageClass));
    return { kind: 'retry', afterMs: slow.restMs(uid, uidOf(storageClass)) };
  }

  /** This node cannot: the scheduler, or placement, may choose another. Only for volumes that were certainly not made. */
  async #reschedule({ claim }: Attempt, signal: AbortSignal): Promise<Outcome> {
    const { api, watches, log } = this.#options;
    const { name, namespace = '', resourceVersion } = (watches.claimByUid(uidOf(claim)) ?? claim).metadata;
    const body = {
      metadata: { resourceVersion, annotations: { [selectedNode]: null }, labels: { [nodeLabel]: null } },
    };
    try {
      const moved = await api.patch(
        'PersistentVolumeClaim',
        { namespace, name },
        { type: 'merge', body },
        signal,
      );
      // else the next look would still see this node selected
      watches.putClaim(moved);
    } catch (error) {
      if (isNotFound(error)) return { kind: 'done' };
      if (!isConflict(error)) throw error;
      return { kind: 'retry' };
    }
    log.info(logFacts(claimRefOf(claim)), 'gave the claim back, for another node to be selected');
    return { kind: 'done' };
  }

  async #tooSmall(
    attempt: Attempt,
    volume: DriverVolume,
    requiredBytes: bigint,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { claim, storageClass, intent } = attempt;
    const { volumeId, volumeContext } = volume;
    const { calls, log, reports } = this.#options;
    try {
      await calls.deleteVolume({ volumeId, volumeContext }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const facts = { ...logFacts(intent.claim), volumeId, err: describeDriverError(error) };
      log.warn(facts, 'a volume that is too small could not be deleted');
    }
    const text = `created volume capacity ${formatBytes(volume.capacityBytes)} less than requested capacity ${formatBytes(requiredBytes)}`;
    reports.failed(claim, storageClass.metadata.name, text);
    return { kind: 'retry' };
  }
}
