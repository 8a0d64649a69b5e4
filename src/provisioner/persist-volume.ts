import { ApiError, isAlreadyExists } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import { standsFor, type VolumeIdentity } from '../claims/volume-facts.ts';

export type Persisted =
  | { readonly kind: 'saved'; readonly volume: PersistentVolume }
  /** a PV of that name exists and is not the one that we mean */
  | { readonly kind: 'taken'; readonly volume: PersistentVolume }
  /** @property mayExist whether the write may have taken effect, or still may */
  | { readonly kind: 'failed'; readonly error: unknown; readonly mayExist: boolean };

/**
 * Writes the PV. One that exists already is success only if it is this claim's and stands for this volume: driver, handle and pool.
 * A write without an answer is a failure of which nobody knows whether it took effect; the caller repeats it.
 */
export async function persistVolume(
  api: KubeApi,
  volume: PersistentVolume,
  identity: VolumeIdentity,
  signal: AbortSignal,
): Promise<Persisted> {
  try {
    return { kind: 'saved', volume: await api.create('PersistentVolume', volume, signal) };
  } catch (error) {
    if (!isAlreadyExists(error)) return { kind: 'failed', error, mayExist: isUncertain(error) };
  }
  try {
    const existing = await api.get('PersistentVolume', { name: volume.metadata.name }, signal);
    const isOurs =
      existing.spec.claimRef?.uid === volume.spec.claimRef?.uid &&
      standsFor(existing, identity, volume.spec.csi?.driver ?? '');
    return { kind: isOurs ? 'saved' : 'taken', volume: existing };
  } catch (error) {
    return { kind: 'failed', error, mayExist: true };
  }
}

/** Whether a failed write may have been done: no answer at all, or the server lost its own way. */
function isUncertain(error: unknown): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 408;
}
