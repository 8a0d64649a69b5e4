import type { PersistentVolume, PersistentVolumeClaim } from '../kube/objects.ts';
import { messageOf } from '../model/errors.ts';
import { formatQuantity, parseQuantity } from '../model/quantity.ts';
import { classNameOf, requestedBytes } from './claim-facts.ts';
import { classNameOfVolume } from './volume-facts.ts';

/**
 * Why a claim cannot have a volume that is reserved for it, as the rest of a sentence that begins with the claim: `asks for 2Gi, the
 * volume has 1Gi`. Undefined: it can.
 */
export function whyUnfit(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  const mode = volume.spec.volumeMode ?? 'Filesystem';
  const wantedMode = claim.spec.volumeMode ?? 'Filesystem';
  if (mode !== wantedMode) return `has volumeMode ${wantedMode}, the volume ${mode}`;
  const className = classNameOfVolume(volume);
  if (classNameOf(claim) !== className) return `has class "${classNameOf(claim)}", the volume "${className}"`;
  const modes = volume.spec.accessModes ?? [];
  const missing = (claim.spec.accessModes ?? []).find((wanted) => !modes.includes(wanted));
  if (missing !== undefined) return `wants access mode ${missing}, the volume has ${modes.join(', ')}`;
  const attributes = volume.spec.volumeAttributesClassName ?? '';
  const wantedAttributes = claim.spec.volumeAttributesClassName ?? '';
  if (wantedAttributes !== attributes)
    return `has volumeAttributesClassName "${wantedAttributes}", the volume "${attributes}"`;
  try {
    const haveBytes = parseQuantity(volume.spec.capacity?.['storage'] ?? '0');
    const wantBytes = requestedBytes(claim);
    return wantBytes > haveBytes
      ? `asks for ${formatQuantity(wantBytes)}, the volume has ${formatQuantity(haveBytes)}`
      : undefined;
  } catch (error) {
    return `has a size that cannot be compared (${messageOf(error)})`;
  }
}
