import { isConflict, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { provisionerFinalizer } from '../../claims/annotations.ts';
import { logFacts, uidOf } from '../../claims/claim-facts.ts';
import { classNameOfVolume } from '../../claims/volume-facts.ts';
import { finalizerPatch } from './decide-finalizer.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { RefusalWords, RefusedEnds } from './refused-ends.ts';

const words: RefusalWords = {
  event: 'VolumeFailedDelete',
  metric: 'controller_persistentvolume_delete_failed_total',
  doing: 'deleted',
};

/** The end of a volume whose claim is verifiably gone: its data, then its PV. Any step can be repeated after a crash. */
export class VolumeDestruction {
  readonly #options: DestructionOptions;
  /** PV name → uid, where all is done and only the watch has not said so yet */
  readonly #done = new Map<string, string>();

  constructor(options: DestructionOptions) {
    this.#options = options;
  }

  async destroy(volume: PersistentVolume, claim: ClaimRef, signal: AbortSignal): Promise<Outcome> {
    const { calls, clock, metrics, refusals } = this.#options;
    const { name } = volume.metadata;
    const csi = volume.spec.csi;
    if (csi === undefined) return { kind: 'done' };
    const log = this.#options.log.child({
      ...logFacts(claim),
      persistentVolume: name,
      volumeId: csi.volumeHandle,
    });
    const labels = { class: classNameOfVolume(volume) };
    const startMs = clock.nowMs();
    try {
      await calls.deleteVolume(
        { volumeId: csi.volumeHandle, volumeContext: csi.volumeAttributes ?? {} },
        signal,
      );
    } catch (error) {
      if (signal.aborted) throw error;
      return refusals.refused(volume, error, words, log);
    }
    refusals.forget(name);
    try {
      await this.#removeObject(volume, signal);
    } catch (error) {
      if (!isConflict(error)) metrics.count(words.metric, labels);
      log.warn({ err: messageOf(error) }, 'the data is gone, but not its PV; trying again');
      throw error;
    }
    this.#done.set(name, uidOf(volume));
    metrics.count('controller_persistentvolume_delete_total', labels);
    metrics.observeSeconds(
      'controller_persistentvolume_delete_duration_seconds',
      labels,
      (clock.nowMs() - startMs) / 1000,
    );
    log.info({ elapsedMs: clock.nowMs() - startMs }, 'deleted a volume');
    return { kind: 'done' };
  }

  /** Whether this very PV was dealt with: what is still heard of it is old news. */
  isDone(volume: PersistentVolume): boolean {
    return this.#done.get(volume.metadata.name) === uidOf(volume);
  }

  /** The PV is gone. */
  forget(name: string): void {
    this.#done.delete(name);
  }

  /**
   * DELETE first: a crash before the finalizer is off leaves a PV that says by itself what is still to be done. Only the PV as it was
   * judged: whoever was given it while its data went has to be told first.
   */
  async #removeObject(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { api } = this.#options;
    const { name, deletionTimestamp, resourceVersion } = volume.metadata;
    const key = { name };
    if (deletionTimestamp === undefined) {
      const judged = { uid: uidOf(volume), ...(resourceVersion === undefined ? {} : { resourceVersion }) };
      await tolerateAbsence(api.remove('PersistentVolume', key, signal, judged));
    }
    if (volume.metadata.finalizers?.includes(provisionerFinalizer) !== true) return;
    await tolerateAbsence(
      api.patch(
        'PersistentVolume',
        key,
        { type: 'strategic', body: finalizerPatch(volume, 'remove') },
        signal,
      ),
    );
  }
}

export interface DestructionOptions {
  readonly api: KubeApi;
  readonly calls: DriverCalls;
  readonly refusals: RefusedEnds;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

async function tolerateAbsence(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
