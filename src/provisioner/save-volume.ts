import { askedWaitMs, isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { DriverVolume } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { buildPersistentVolume } from './build-persistent-volume.ts';
import { logFacts, uidOf } from '../claims/claim-facts.ts';
import type { ProvisionDecision } from './decide-provision.ts';
import type { Intent } from './intents.ts';
import { lookUp } from '../kube/look-up.ts';
import { persistVolume } from './persist-volume.ts';
import type { ProvisionReports } from './provision-reports.ts';
import type { IntentSettler } from './settle-intent.ts';
import type { OwnSide, VolumeIdentity } from '../claims/volume-facts.ts';
import type { ClusterView } from './watches.ts';

/** Saving a PV is repeated much sooner than asking a driver again: the volume is there, and somebody waits for it. */
const saveWaits = { baseMs: 50, maxMs: 30_000 };

export interface SavingOptions {
  readonly api: KubeApi;
  readonly watches: ClusterView;
  readonly settler: IntentSettler;
  readonly reports: ProvisionReports;
  readonly own: OwnSide;
  /** which provisioner process makes the volumes */
  readonly identity: string;
  readonly writePhase: boolean;
  readonly redecide: (claim: PersistentVolumeClaim, storageClass: StorageClass) => ProvisionDecision;
  readonly clock: Clock;
  readonly log: Log;
}

/** An attempt at one claim's volume. */
export interface Attempt {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass;
  readonly fsType: string;
  /** of the claim's VolumeAttributesClass */
  readonly retainFor?: string | undefined;
  readonly intent: Intent;
  readonly startMs: number;
}

/** The second half of an attempt: the volume is made, and gets its PV if the claim still wants it. */
export class VolumeSaving {
  readonly #options: SavingOptions;

  constructor(options: SavingOptions) {
    this.#options = options;
  }

  /** Between the driver's answer and the PV the claim may have gone to another node, another volume, or away. */
  async save(
    attempt: Attempt,
    volume: DriverVolume,
    identity: VolumeIdentity,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { watches, api, own, redecide, settler } = this.#options;
    const { storageClass, fsType, retainFor, intent } = attempt;
    const log = this.#options.log.child({ ...logFacts(intent.claim), volumeId: volume.volumeId });
    let claim = watches.claimByUid(uidOf(attempt.claim));
    // it may only have lost its label meanwhile
    if (claim === undefined && watches.isScoped)
      claim = await lookUp(api, 'PersistentVolumeClaim', intent.claim, signal);
    // the next turn looks the claim up live
    if (claim === undefined || uidOf(claim) !== uidOf(attempt.claim)) return { kind: 'retry', afterMs: 0 };
    const again = redecide(claim, storageClass);
    if (again.kind !== 'provision') {
      log.info({}, `the claim changed while its volume was made: ${again.reason}`);
      return { kind: 'retry', afterMs: again.kind === 'wait' ? saveWaits.baseMs : 0 };
    }
    const parts = { claim, storageClass, volume, fsType, own, retainFor };
    const wanted = buildPersistentVolume({ ...this.#options, ...parts });
    const persisted = await persistVolume(api, wanted, identity, signal);
    switch (persisted.kind) {
      case 'saved':
        watches.putVolume(persisted.volume);
        return this.#saved(attempt, persisted.volume, volume.volumeId, signal);
      case 'taken':
        log.warn({ persistentVolume: wanted.metadata.name }, 'the PV of this name stands for another volume');
        return settler.settle(
          intent,
          claim,
          `PersistentVolume ${wanted.metadata.name} stands for another volume`,
          signal,
        );
      case 'failed':
        if (signal.aborted) throw persisted.error;
        return this.#failed(attempt, wanted.metadata.name, persisted);
    }
  }

  #failed(
    { claim, storageClass, intent }: Attempt,
    volumeName: string,
    { error, mayExist }: { readonly error: unknown; readonly mayExist: boolean },
  ): Outcome {
    if (mayExist) intent.unansweredAtMs = this.#options.clock.nowMs();
    this.#options.reports.notSaved(claim, storageClass.metadata.name, volumeName, error);
    const waitMs = Math.min(saveWaits.maxMs, saveWaits.baseMs * 2 ** Math.min(intent.saveFailures, 20));
    intent.saveFailures += 1;
    return { kind: 'retry', afterMs: askedWaitMs(error) ?? waitMs };
  }

  async #saved(
    attempt: Attempt,
    saved: PersistentVolume,
    volumeId: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { settler, reports, clock, writePhase } = this.#options;
    const { claim, intent, startMs, storageClass } = attempt;
    const elapsedMs = clock.nowMs() - startMs;
    // on disk and over the network at the same time
    const confirmed = settler.confirm(intent, volumeId);
    if (writePhase) await this.#writePhase(saved, signal);
    reports.succeeded(claim, storageClass.metadata.name, {
      persistentVolume: saved.metadata.name,
      volumeId,
      elapsedMs,
    });
    return confirmed;
  }

  /** Spares kube-controller-manager one of its writes. Whatever else happened to the PV meanwhile counts more than this. */
  async #writePhase(saved: PersistentVolume, signal: AbortSignal): Promise<void> {
    const phase = saved.status?.phase ?? 'Pending';
    if (phase !== 'Pending' || saved.metadata.deletionTimestamp !== undefined) return;
    const { name, resourceVersion } = saved.metadata;
    const body = { metadata: { resourceVersion }, status: { phase: 'Bound' } };
    try {
      const { api, watches } = this.#options;
      watches.putVolume(
        await api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal, 'status'),
      );
    } catch (error) {
      if (isConflict(error) || isNotFound(error) || signal.aborted) return;
      const facts = { persistentVolume: name, err: messageOf(error) };
      this.#options.log.warn(facts, "the PV's phase could not be written; kube-controller-manager will");
    }
  }
}
