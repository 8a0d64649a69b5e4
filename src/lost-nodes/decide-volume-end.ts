import { provisionerFinalizer } from '../claims/annotations.ts';
import { readEnd, retentionEndMs } from '../claims/read-end.ts';
import type { PersistentVolume } from '../kube/objects.ts';
import { poolUuidKey } from '../model/volume.ts';

export type VolumeEnd =
  | { readonly kind: 'now' }
  | { readonly kind: 'later'; readonly afterMs: number; readonly reason: string }
  | { readonly kind: 'not'; readonly reason: string };

/**
 * Whether a PV whose claim is gone for certain may be finished without its node: the reclaiming that its node would do, as far as that
 * goes without the disk. What the node would leave as it is, is left.
 *
 * @param lostSinceMs retainFor counts from then where the node had no time to write its end down
 */
export function decideVolumeEnd(volume: PersistentVolume, lostSinceMs: number, nowMs: number): VolumeEnd {
  const { metadata, spec, status } = volume;
  const policy = spec.persistentVolumeReclaimPolicy ?? 'Retain';
  if (policy !== 'Delete') return { kind: 'not', reason: `reclaim policy ${policy} keeps it` };
  const phase = status?.phase ?? 'Pending';
  const isGoing = metadata.deletionTimestamp !== undefined;
  if (phase !== 'Released' && phase !== 'Failed' && (!isGoing || phase === 'Bound'))
    return { kind: 'not', reason: `phase ${phase}` };
  if (isGoing && metadata.finalizers?.includes(provisionerFinalizer) !== true)
    return { kind: 'not', reason: 'it is being deleted, and others hold it' };
  if ((spec.csi?.volumeAttributes?.[poolUuidKey] ?? '') === '')
    return { kind: 'not', reason: 'it names no pool, so that no returning disk could be told to be its own' };
  const end = readEnd(volume);
  if (end.kind !== 'destroy')
    return { kind: 'not', reason: 'reason' in end ? end.reason : 'it is not to be deleted' };
  const untilMs = end.retainedUntilMs ?? retentionEndMs(lostSinceMs, end.retainForMs);
  const isRetained = end.retainedUntilMs !== undefined || end.retainForMs > 0;
  if (!isRetained || untilMs <= nowMs) return { kind: 'now' };
  const reason = `it is retained until ${new Date(untilMs).toISOString()}`;
  return { kind: 'later', afterMs: untilMs - nowMs, reason };
}
