import type { PersistentVolume } from '../../kube/objects.ts';
import { isReason } from '../../model/errors.ts';
import type { Metrics } from '../../model/metrics.ts';
import { parseQuantity } from '../../model/quantity.ts';
import { poolUuidKey } from '../../model/volume.ts';
import type { RetainedVolume } from './decide-early-end.ts';
import type { ReclaimDecision } from './decide-reclaim.ts';

/** The released volumes of this node as they were last judged: those that are retained, and the bytes of those that go. */
export class RetainedVolumes {
  readonly #retained = new Map<
    string,
    Omit<RetainedVolume, 'freesRoom'> & { readonly isDestroyed: boolean }
  >();
  readonly #leaving = new Map<string, { readonly poolUuid: string; readonly sizeBytes: bigint }>();

  get isEmpty(): boolean {
    return this.#retained.size === 0;
  }

  /** What has become of a PV. */
  note(volume: PersistentVolume, decision: ReclaimDecision): void {
    const { name } = volume.metadata;
    this.forget(name);
    if (decision.kind !== 'retain' && decision.kind !== 'reclaim') return;
    const poolUuid = volume.spec.csi?.volumeAttributes?.[poolUuidKey] ?? '';
    const sizeBytes = sizeOf(volume);
    if (decision.kind === 'reclaim') {
      this.#leaving.set(name, { poolUuid, sizeBytes });
      return;
    }
    const { volumeId, claim, untilMs, forMs, next } = decision;
    this.#retained.set(name, {
      name,
      volumeId,
      namespace: claim.namespace,
      poolUuid,
      sizeBytes,
      sinceMs: untilMs - forMs,
      isDestroyed: next === 'reclaim',
    });
  }

  forget(name: string): void {
    this.#retained.delete(name);
    this.#leaving.delete(name);
  }

  /** @param keepsRoom whether deleting a volume gives its pool nothing back */
  retained(keepsRoom: (volumeId: string) => boolean): RetainedVolume[] {
    return [...this.#retained.values()].map(({ isDestroyed, ...volume }) => ({
      ...volume,
      freesRoom: isDestroyed && !keepsRoom(volume.volumeId),
    }));
  }

  /** Bytes that are coming back, by pool uuid. */
  leaving(): ReadonlyMap<string, bigint> {
    const byPool = new Map<string, bigint>();
    for (const { poolUuid, sizeBytes } of this.#leaving.values())
      byPool.set(poolUuid, (byPool.get(poolUuid) ?? 0n) + sizeBytes);
    return byPool;
  }

  measure(metrics: Metrics): void {
    let bytes = 0n;
    for (const { sizeBytes } of this.#retained.values()) bytes += sizeBytes;
    metrics.gauge('loam_retained_volumes', {}, this.#retained.size);
    metrics.gauge('loam_retained_bytes', {}, Number(bytes));
  }
}

function sizeOf({ spec }: PersistentVolume): bigint {
  try {
    return parseQuantity(spec.capacity?.['storage'] ?? '0');
  } catch (error) {
    // by hand, and of more than can be counted: no pool has that
    if (isReason(error, 'size-out-of-range', 'invalid-argument')) return 0n;
    throw error;
  }
}
