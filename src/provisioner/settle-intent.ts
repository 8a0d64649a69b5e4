import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { VolumeLedger } from '../model/volume-ledger.ts';
import { volumeIdOf } from '../model/volume-id.ts';
import { poolUuidKey } from '../model/volume.ts';
import { logFacts, volumeNameFor } from '../claims/claim-facts.ts';
import { decideState } from './decide-state.ts';
import { describeDriverError, type DriverCalls } from './driver-calls.ts';
import { identityOfContext, type Intent, type Intents } from './intents.ts';
import type { OutcomeEvents } from './outcome-events.ts';
import type { SharedHandles } from './reclaim/shared-handles.ts';
import { isOnNode, standsFor, type OwnSide, type VolumeIdentity } from '../claims/volume-facts.ts';

/** A POST without an answer may take effect for as long as an API server keeps a request. */
export const unansweredMs = 65_000;

/** The one place where a volume is undone that was begun for a claim and is no longer wanted. Every step can be repeated. */
export class IntentSettler {
  readonly #options: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /**
   * Ends an intent whose claim is gone or not ours any more: keeps the volume if a PV stands for it, else deletes it.
   *
   * @param claim for the event; undefined where it is gone
   * @throws whatever the look-up of the PV threw: then nothing was deleted
   */
  async settle(
    intent: Intent,
    claim: PersistentVolumeClaim | undefined,
    why: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { api, own, sharedHandles, clock } = this.#options;
    const log = this.#options.log.child(logFacts(intent.claim));
    const identity = await this.#identify(intent, signal);
    if (identity === 'unknown') return { kind: 'retry' };
    if (identity === undefined) return this.#end(intent);

    const name = volumeNameFor(intent.claim.uid);
    const named = await lookUp(api, 'PersistentVolume', { name }, signal);
    // of a copy that is not finished only the handle is known, which another node's volume of this claim has too
    const isSure = identity.poolUuid !== undefined || !own.ownDriver;
    const isOwner = (volume: PersistentVolume) =>
      standsFor(volume, identity, own.driverName) && (isSure || isOnNode(volume, own));
    const owner =
      named !== undefined && isOwner(named)
        ? named
        : (await sharedHandles.volumesOfHandle(identity.volumeId, signal)).find(isOwner);
    if (owner !== undefined) {
      log.info(
        { volumeId: identity.volumeId, persistentVolume: owner.metadata.name },
        'the volume has a PV and is kept',
      );
      return this.confirm(intent, identity.volumeId);
    }
    const leftMs = (intent.unansweredAtMs ?? -Infinity) + unansweredMs - clock.nowMs();
    if (named === undefined && leftMs > 0) return { kind: 'retry', afterMs: leftMs };
    return this.#undo(intent, identity, claim, why, signal);
  }

  /** Notes for good that the volume has a PV. Never throws: what cannot be noted now is tried again. */
  async confirm(intent: Intent, volumeId: string): Promise<Outcome> {
    try {
      await this.#options.ledger?.acknowledge(volumeId);
    } catch (error) {
      this.#options.log.error(
        { ...logFacts(intent.claim), volumeId, err: messageOf(error) },
        'could not note on disk that the PV exists; trying again',
      );
      return { kind: 'retry' };
    }
    return this.#end(intent);
  }

  async #undo(
    intent: Intent,
    identity: VolumeIdentity,
    claim: PersistentVolumeClaim | undefined,
    why: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { calls, events, log } = this.#options;
    const { volumeId, poolUuid } = identity;
    const context = poolUuid === undefined ? {} : { volumeContext: { [poolUuidKey]: poolUuid } };
    try {
      await calls.deleteVolume({ volumeId, ...context }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const text = describeDriverError(error);
      log.warn(
        { ...logFacts(intent.claim), volumeId, why, err: text },
        'a volume begun in vain could not be deleted; trying again',
      );
      return { kind: 'retry' };
    }
    log.info({ ...logFacts(intent.claim), volumeId, why }, 'deleted a volume that was begun in vain');
    if (claim !== undefined) {
      const text = `deleted volume ${volumeId} on node ${this.#options.own.nodeName}, begun in vain: ${why}`;
      events.normal('PersistentVolumeClaim', claim, 'ProvisioningUndone', text);
    }
    return this.#end(intent);
  }

  /** Which volume it is. Drivers without a ledger have to be asked again, by the same name, to tell what they made. */
  async #identify(intent: Intent, signal: AbortSignal): Promise<VolumeIdentity | undefined | 'unknown'> {
    const known = intent.volume ?? this.#options.intents.recorded(intent.claim.uid);
    if (known !== undefined || intent.request === undefined) return known;
    if (this.#options.own.ownDriver) {
      // a copy goes on by itself, and stands in no record until it is whole: deleting it ends it
      return intent.request.contentSource === undefined
        ? undefined
        : { volumeId: volumeIdOf(intent.request.name) };
    }
    try {
      const volume = await this.#options.calls.createVolume(intent.request, signal);
      intent.volume = identityOfContext(volume.volumeId, volume.volumeContext);
      return intent.volume;
    } catch (error) {
      if (signal.aborted) throw error;
      return decideState(error, false) === 'in-background' ? 'unknown' : undefined;
    }
  }

  #end(intent: Intent): Outcome {
    this.#options.intents.end(intent.claim.uid);
    return { kind: 'done' };
  }
}

export interface SettlerOptions {
  readonly api: KubeApi;
  readonly calls: DriverCalls;
  readonly ledger?: VolumeLedger | undefined;
  readonly intents: Intents;
  readonly own: OwnSide;
  readonly sharedHandles: SharedHandles;
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly log: Log;
}
