import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';

export type FoundAttributes =
  | {
      readonly kind: 'found';
      /** unset: the claim names no class */
      readonly mutableParameters?: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** What the claim's VolumeAttributesClass asks of a new volume. @throws what the look-up threw but for absence */
export async function findAttributes(
  api: KubeApi,
  claim: PersistentVolumeClaim,
  driverName: string,
  signal: AbortSignal,
): Promise<FoundAttributes> {
  const name = claim.spec.volumeAttributesClassName ?? '';
  if (name === '') return { kind: 'found' };
  const found = await lookUp(api, 'VolumeAttributesClass', { name }, signal);
  if (found === undefined)
    return {
      kind: 'refused',
      reason: `VolumeAttributesClass ${name} is not there; make it, or take its name off the claim`,
    };
  if (found.driverName !== driverName) {
    return {
      kind: 'refused',
      reason: `VolumeAttributesClass ${name} is of driver ${found.driverName}, the StorageClass of ${driverName}; name one of that driver`,
    };
  }
  return { kind: 'found', mutableParameters: found.parameters ?? {} };
}
