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
