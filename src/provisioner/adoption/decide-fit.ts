import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/objects.ts';
import { formatBytes, formatQuantity, parseQuantity } from '../../model/quantity.ts';
import { claimKey, requestedBytes } from '../../claims/claim-facts.ts';
import { howToFree } from '../orphans/how-to-free.ts';

export type FitDecision =
  | { readonly kind: 'fits' }
  /** the PV can serve these modes, and has yet to say so */
  | { readonly kind: 'modes'; readonly accessModes: readonly string[] }
  | { readonly kind: 'misfit'; readonly reason: string };

const oncePod = 'ReadWriteOncePod';

/** Whether a PV that was offered to a claim by its name can be bound to it; else why not and what to do, for people. */
export function decideFit(volume: PersistentVolume, claim: PersistentVolumeClaim): FitDecision {
  const key = claimKey(claim.metadata);
  const id = volume.spec.csi?.volumeHandle ?? '';
  const first = howToFree(volume) ?? `delete PersistentVolume ${volume.metadata.name}`;
  const misfit = (what: string, todo: string): FitDecision => ({
    kind: 'misfit',
    reason: `the volume that was made for claim ${key} before, ${id}, is reserved for it and does not fit: ${what}; ${todo}; or, for an empty one, ${first}, then the volume (loam gc --remove ${id}), and make the claim anew`,
  });
  const hasBytes = parseQuantity(volume.spec.capacity?.['storage'] ?? '0');
  const wantsBytes = requestedBytes(claim);
  if (wantsBytes > hasBytes)
    return misfit(
      `the claim asks for ${formatBytes(wantsBytes)}, the volume has ${formatBytes(hasBytes)}`,
      `make the claim anew with at most ${formatQuantity(hasBytes)} and let it grow`,
    );
  const [has, wants] = [volume.spec.volumeMode ?? 'Filesystem', claim.spec.volumeMode ?? 'Filesystem'];
  if (has !== wants)
    return misfit(
      `the claim's volumeMode is ${wants}, the volume's ${has}`,
      `make the claim anew with ${has}`,
    );
  if ((claim.spec.volumeAttributesClassName ?? '') !== (volume.spec.volumeAttributesClassName ?? ''))
    return misfit(
      'the claim names a VolumeAttributesClass',
      'make it anew without, and name it when it is bound',
    );
  const modes = volume.spec.accessModes ?? [];
  const asked = claim.spec.accessModes ?? [];
  if (asked.every((mode) => modes.includes(mode))) return { kind: 'fits' };
  // it may not stand beside other modes in a PV; every volume of one node can serve it
  if (asked.length === 1 && asked[0] === oncePod) return { kind: 'modes', accessModes: asked };
  if (modes.length === 1 && modes[0] === oncePod && asked.every((mode) => mode === 'ReadWriteOnce'))
    return { kind: 'modes', accessModes: asked };
  return misfit(
    `the claim asks for ${asked.join(', ')}, the volume serves ${modes.join(', ')}`,
    'make the claim anew with those',
  );
}
