import { reclaiming } from '../../claims/annotations.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { howToLetGo } from './how-to-free.ts';

/**
 * Why a PV that stands for a volume keeps it for nobody any more, and what a person can do who wants the data; undefined: a claim has it, or
 * can get it.
 */
export function whyGoing(volume: PersistentVolume): string | undefined {
  const { metadata, spec, status } = volume;
  const { name } = metadata;
  const stands = `PersistentVolume ${name} stands for it`;
  if (metadata.annotations?.[reclaiming] !== undefined)
    return `${stands}, and its data is being destroyed (${reclaiming}); nothing can be given back`;
  const phase = status?.phase ?? 'Pending';
  if (phase === 'Released')
    return `${stands} and is Released; loam undelete ${name} gives its data to a claim`;
  if (phase === 'Failed') return `${stands} and is Failed; ${howToLetGo(volume)}, then repeat`;
  if (metadata.deletionTimestamp === undefined) return undefined;
  return phase === 'Bound'
    ? `${stands} and goes with its claim ${claimKey(spec.claimRef ?? {})}; to keep its data then: kubectl patch pv ${name} -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`
    : `${stands} and is being deleted; repeat when it is gone`;
}
