import { adopted } from '../../claims/annotations.ts';
import { claimKey } from '../../claims/claim-facts.ts';
import type { PersistentVolume } from '../../kube/objects.ts';

/**
 * What a person does before `loam gc --remove` who wants a volume gone whose PV nobody was bound to. A claim of its name that waits has to
 * go too, or the volume is offered to it again. undefined: a claim has it, or had it, and the PV says what becomes of the data.
 */
export function howToFree({ metadata, spec }: PersistentVolume): string | undefined {
  const ref = spec.claimRef ?? undefined;
  if ((ref?.uid ?? '') !== '') return undefined;
  const isOffered = ref !== undefined && metadata.annotations?.[adopted] === 'by-name';
  const claim = isOffered ? `claim ${claimKey(ref)} where it waits, and then ` : '';
  return `delete ${claim}the PersistentVolume (kubectl delete pv ${metadata.name})`;
}

/** What a person does before `loam gc --forget`: nothing may reclaim, or be given, what is not there any more. */
export function howToLetGo({ metadata, spec }: PersistentVolume): string {
  const { name } = metadata;
  const isRetained = (spec.persistentVolumeReclaimPolicy ?? 'Retain') === 'Retain';
  const retain = `give it the policy Retain (kubectl patch pv ${name} -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'), `;
  const ref = spec.claimRef ?? undefined;
  const claim =
    (ref?.uid ?? '') === '' ? '' : `delete claim ${claimKey(ref ?? {})} where it is there still, `;
  return `${isRetained ? '' : retain}${claim}delete the PersistentVolume (kubectl delete pv ${name})`;
}
