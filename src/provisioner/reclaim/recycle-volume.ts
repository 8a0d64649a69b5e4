import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { Outcome } from '../../kube/work-queue.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeLedger } from '../../model/volume-ledger.ts';
import { poolUuidKey, type ClaimRef } from '../../model/volume.ts';
import * as annotations from '../../claims/annotations.ts';
import { claimKey, logFacts } from '../../claims/claim-facts.ts';
import { classNameOfVolume } from '../../claims/volume-facts.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { ClusterView } from '../watches.ts';
import type { RefusalWords, RefusedEnds } from './refused-ends.ts';

const words: RefusalWords = {
  event: 'VolumeFailedRecycle',
  metric: 'loam_volume_recycle_failed_total',
  doing: 'recycled',
};

/**
 * Empties the volume of a claim that is verifiably gone, and offers its PV to the next one. Emptying is the ledger's, and is repeated
 * after a crash; offering is one patch that holds only for the PV as it was judged.
 *
 * kube-controller-manager and the scheduler never look at a claim's data source when they choose among Available PVs: a claim that asks
 * for a copy can be bound to a recycled, empty one without a word. Loam refuses such claims in classes with `onRelease: recycle`
 * (decide-provision.ts) and tells on those that were bound all the same (`DataSourceIgnored`); nothing on a PV could prevent it.
 */
export class VolumeRecycling {
  readonly #options: RecyclingOptions;

  constructor(options: RecyclingOptions) {
    this.#options = options;
  }

  /** @throws ApiError Conflict where the PV was changed meanwhile: then it is not offered, and has to be judged again */
  async recycle(volume: PersistentVolume, claim: ClaimRef, signal: AbortSignal): Promise<Outcome> {
    const { clock, metrics, events, api, watches } = this.#options;
    const startMs = clock.nowMs();
    const refused = await this.empty(volume, claim, signal);
    if (refused !== undefined) return refused;
    const body = offerPatch(volume, clock.nowMs());
    const key = { name: volume.metadata.name };
    const offered = await api.patch('PersistentVolume', key, { type: 'merge', body }, signal);
    watches.putVolume(offered);
    const labels = { class: classNameOfVolume(volume) };
    const elapsedMs = clock.nowMs() - startMs;
    metrics.count('loam_volume_recycle_total', labels);
    metrics.observeSeconds('loam_volume_recycle_duration_seconds', labels, elapsedMs / 1000);
    const text = `emptied after claim ${claimKey(claim)}, and offered to the next claim that it fits`;
    events.normal('PersistentVolume', volume, 'VolumeRecycled', text);
    this.#logOf(volume, claim).info({ elapsedMs }, 'recycled a volume');
    return { kind: 'done' };
  }

  /** Only what happens to the data. @returns when to ask again; undefined: it is empty */
  async empty(
    volume: PersistentVolume,
    claim: ClaimRef,
    signal: AbortSignal,
    { onlyBegun = false }: { readonly onlyBegun?: boolean } = {},
  ): Promise<Outcome | undefined> {
    const { calls, ledger, refusals } = this.#options;
    const csi = volume.spec.csi;
    if (csi === undefined || ledger === undefined) return { kind: 'done' };
    const poolUuid = csi.volumeAttributes?.[poolUuidKey];
    const request = {
      volumeId: csi.volumeHandle,
      ...(poolUuid === undefined ? {} : { poolUuid }),
      ...(onlyBegun ? { onlyBegun } : {}),
    };
    try {
      await calls.within('recycling the volume', signal, (call) => ledger.recycle(request, call));
    } catch (error) {
      if (signal.aborted) throw error;
      return refusals.refused(volume, error, words, this.#logOf(volume, claim));
    }
    refusals.forget(volume.metadata.name);
    return undefined;
  }

  #logOf(volume: PersistentVolume, claim: ClaimRef): Log {
    const volumeId = volume.spec.csi?.volumeHandle;
    return this.#options.log.child({
      ...logFacts(claim),
      persistentVolume: volume.metadata.name,
      volumeId,
    });
  }
}

/** One write, so that nobody ever sees the PV free and marked, or unmarked and still its old claim's. */
function offerPatch({ metadata: { resourceVersion } }: PersistentVolume, nowMs: number): object {
  return {
    metadata: {
      resourceVersion,
      annotations: {
        [annotations.reclaiming]: null,
        [annotations.retainedUntil]: null,
        [annotations.boundByController]: null,
        [annotations.preResizeCapacity]: null,
        [annotations.recycled]: new Date(nowMs).toISOString(),
      },
    },
    spec: { claimRef: null },
  };
}

export interface RecyclingOptions {
  readonly api: KubeApi;
  readonly watches: Pick<ClusterView, 'putVolume'>;
  readonly calls: DriverCalls;
  /** unset: another driver's volumes, which cannot be emptied */
  readonly ledger?: Pick<VolumeLedger, 'recycle'> | undefined;
  readonly refusals: RefusedEnds;
  readonly events: OutcomeEvents;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}
