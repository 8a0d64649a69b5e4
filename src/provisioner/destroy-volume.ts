import { isNotFound } from '../kube/api-error.ts';
import { backOffMs } from '../kube/back-off.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { statusCodeOf } from '../model/status-code.ts';
import type { ClaimRef } from '../model/volume.ts';
import { provisionerFinalizer } from '../claims/annotations.ts';
import { logFacts, uidOf } from '../claims/claim-facts.ts';
import { classNameOfVolume } from '../claims/volume-facts.ts';
import { finalizerPatch } from './decide-finalizer.ts';
import { describeDriverError, type DriverCalls } from './driver-calls.ts';
import type { OutcomeEvents } from './outcome-events.ts';

/**
 * kubelet's unmount follows the pod's end within seconds, and a driver that says ABORTED may only be busy with that unmount.
 * When the last byte is gone our own driver tells; nobody tells of the rest.
 */
const waits = { baseMs: 1_000, maxMs: 30_000 };

/** The end of a volume whose claim is verifiably gone: its data, then its PV. Any step can be repeated after a crash. */
export class VolumeDestruction {
  readonly #options: DestructionOptions;
  /** PV name → attempts that found the volume in use, or the driver at work on it */
  readonly #early = new Map<string, number>();
  /** PV name → uid, where all is done and only the watch has not said so yet */
  readonly #done = new Map<string, string>();

  constructor(options: DestructionOptions) {
    this.#options = options;
  }

  async destroy(volume: PersistentVolume, claim: ClaimRef, signal: AbortSignal): Promise<Outcome> {
    const { calls, clock, metrics } = this.#options;
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
      return this.#failed(volume, error, log);
    }
    this.#early.delete(name);
    try {
      await this.#removeObject(volume, signal);
    } catch (error) {
      metrics.count('controller_persistentvolume_delete_failed_total', labels);
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
    this.#early.delete(name);
  }

  #failed(volume: PersistentVolume, error: unknown, log: Log): Outcome {
    const { name } = volume.metadata;
    const code = statusCodeOf(error);
    const text = describeDriverError(error);
    if (code === 'ABORTED') {
      // work in progress is no failure
      log.info({ err: text }, 'the driver is still at work on the volume');
      return this.#later(name);
    }
    this.#options.metrics.count('controller_persistentvolume_delete_failed_total', {
      class: classNameOfVolume(volume),
    });
    this.#options.events.warning('PersistentVolume', volume, 'VolumeFailedDelete', text);
    log.warn({ err: text }, 'the volume could not be deleted; trying again');
    if (code !== 'FAILED_PRECONDITION') return { kind: 'retry' };
    return this.#later(name);
  }

  #later(name: string): Outcome {
    const attempts = (this.#early.get(name) ?? 0) + 1;
    this.#early.set(name, attempts);
    return { kind: 'retry', afterMs: backOffMs(attempts, waits) };
  }

  /** DELETE first: a crash before the finalizer is off leaves a PV that says by itself what is still to be done. */
  async #removeObject(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { api } = this.#options;
    const key = { name: volume.metadata.name };
    if (volume.metadata.deletionTimestamp === undefined) {
      await tolerateAbsence(api.remove('PersistentVolume', key, signal, { uid: uidOf(volume) }));
    }
    if (volume.metadata.finalizers?.includes(provisionerFinalizer) !== true) return;
    await tolerateAbsence(
      api.patch('PersistentVolume', key, { type: 'strategic', body: finalizerPatch('remove') }, signal),
    );
  }
}

export interface DestructionOptions {
  readonly api: KubeApi;
  readonly calls: DriverCalls;
  readonly events: OutcomeEvents;
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
