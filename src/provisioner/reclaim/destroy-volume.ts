import { isNotFound } from '../../kube/api-error.ts';
import { backOffMs } from '../../kube/back-off.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { statusCodeOf } from '../../model/status-code.ts';
import type { ClaimRef } from '../../model/volume.ts';
import { provisionerFinalizer } from '../../claims/annotations.ts';
import { logFacts, uidOf } from '../../claims/claim-facts.ts';
import { classNameOfVolume } from '../../claims/volume-facts.ts';
import { finalizerPatch } from './decide-finalizer.ts';
import { describeDriverError, type DriverCalls } from '../driver-calls.ts';
import type { OutcomeEvents } from '../outcome-events.ts';

/**
 * kubelet's unmount follows the pod's end within seconds, and a driver that says ABORTED may only be busy with that unmount.
 * Our own driver tells when kubelet has let go and when the last byte is gone; nobody tells of other people's drivers.
 */
const waits = { baseMs: 1_000, maxMs: 30_000 };

/**
 * Until then a volume in use is no news: a claim deleted with its pod goes before kubelet has unmounted, and kubelet
 * repeats an unmount that failed after 0.5 s, doubling, so that it has tried six times by now. FAILED_PRECONDITION is
 * CSI's word for it; what else a driver may mean by that can be told half a minute later, too.
 */
const patienceMs = 30_000;

/** The end of a volume whose claim is verifiably gone: its data, then its PV. Any step can be repeated after a crash. */
export class VolumeDestruction {
  readonly #options: DestructionOptions;
  /** PV name → attempts that found the volume in use, or the driver at work on it */
  readonly #early = new Map<string, number>();
  /** PV name → since when the driver says FAILED_PRECONDITION, which is in use */
  readonly #inUseSinceMs = new Map<string, number>();
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
    this.#forgetWaiting(name);
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
    this.#forgetWaiting(name);
  }

  /** What was in the way is gone, as far as its keeper knows: the next refusal counts as the first. */
  forgetTries(name: string): void {
    this.#early.delete(name);
  }

  #forgetWaiting(name: string): void {
    this.#early.delete(name);
    this.#inUseSinceMs.delete(name);
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
    const patienceLeftMs = code === 'FAILED_PRECONDITION' ? this.#patienceLeftMs(name) : 0;
    if (patienceLeftMs > 0) {
      log.info({ err: text }, 'the driver does not give the volume up yet; waiting');
      return this.#later(name, patienceLeftMs);
    }
    this.#options.events.warning('PersistentVolume', volume, 'VolumeFailedDelete', text);
    log.warn({ err: text }, 'the volume could not be deleted; trying again');
    if (code !== 'FAILED_PRECONDITION') return { kind: 'retry' };
    return this.#later(name);
  }

  #patienceLeftMs(name: string): number {
    const nowMs = this.#options.clock.nowMs();
    const sinceMs = this.#inUseSinceMs.get(name) ?? nowMs;
    this.#inUseSinceMs.set(name, sinceMs);
    return sinceMs + patienceMs - nowMs;
  }

  #later(name: string, atMostMs = Infinity): Outcome {
    const attempts = (this.#early.get(name) ?? 0) + 1;
    this.#early.set(name, attempts);
    return { kind: 'retry', afterMs: Math.min(backOffMs(attempts, waits), atMostMs) };
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
