import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { recycled } from '../../claims/annotations.ts';
import { dataSourceOf } from '../../claims/claim-facts.ts';
import { isBoundTo } from '../../claims/volume-facts.ts';
import type { ClusterView } from '../watches.ts';

/** Kinds that a provisioner fills a new volume from; any other belongs to a populator, which fills whatever volume there is. */
const copied: readonly string[] = ['PersistentVolumeClaim', 'VolumeSnapshot'];

/**
 * The claim that asked for a copy and was bound to a recycled volume, which is empty. kube-controller-manager and the scheduler choose
 * among Available PVs without looking at data sources, so that nobody can prevent it; but somebody has to say it.
 */
export function findIgnoredSource(
  volume: PersistentVolume,
  watches: Pick<ClusterView, 'claim'>,
): { readonly claim: PersistentVolumeClaim; readonly reason: string } | undefined {
  const ref = volume.spec.claimRef;
  if (volume.metadata.annotations?.[recycled] === undefined || volume.status?.phase !== 'Bound')
    return undefined;
  const claim = watches.claim({ namespace: ref?.namespace ?? '', name: ref?.name ?? '' });
  if (claim === undefined || !isBoundTo(volume, claim)) return undefined;
  const source = dataSourceOf(claim);
  if (source === undefined || !copied.includes(source.kind)) return undefined;
  const reason = `the claim asks for a copy of ${source.kind} ${source.name}, but Kubernetes bound it to the recycled PersistentVolume ${volume.metadata.name}, which began empty; make the claim in a class without onRelease: recycle`;
  return { claim, reason };
}
