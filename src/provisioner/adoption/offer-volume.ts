import { isAlreadyExists } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { StorageError } from '../../model/errors.ts';
import { poolUuidKey } from '../../model/volume.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import { standsFor } from '../../claims/volume-facts.ts';

/**
 * Writes the PV of a volume that was there before. One that exists already is success where it stands for the same volume and for the
 * same claim, whatever uid it has been given since.
 *
 * @throws StorageError 'already-exists-different' naming the PV; else what the API threw: the next attempt finds out
 */
export async function offerVolume(
  api: Pick<KubeApi, 'create' | 'get'>,
  wanted: PersistentVolume,
  signal: AbortSignal,
): Promise<PersistentVolume> {
  try {
    return await api.create('PersistentVolume', wanted, signal);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  const { name } = wanted.metadata;
  const existing = await api.get('PersistentVolume', { name }, signal);
  const { csi, claimRef } = wanted.spec;
  const identity = { volumeId: csi?.volumeHandle ?? '', poolUuid: csi?.volumeAttributes?.[poolUuidKey] };
  const isSameClaim =
    claimRef === undefined || claimKey(existing.spec.claimRef ?? {}) === claimKey(claimRef ?? {});
  if (standsFor(existing, identity, csi?.driver ?? '') && isSameClaim) return existing;
  throw new StorageError(
    'already-exists-different',
    `PersistentVolume ${name} exists and stands for something else; delete or rename it, then it is offered`,
  );
}
