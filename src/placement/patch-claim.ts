import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Watches } from './watches.ts';

/**
 * Changes a claim as it was judged: `body` carries its resourceVersion.
 *
 * @returns false where somebody else has changed the claim, or deleted it
 */
export async function patchClaim(
  { api, watches }: { readonly api: KubeApi; readonly watches: Watches },
  claim: PersistentVolumeClaim,
  body: object,
  signal: AbortSignal,
): Promise<boolean> {
  const { name, namespace = '' } = claim.metadata;
  try {
    const key = { namespace, name };
    watches.putClaim(await api.patch('PersistentVolumeClaim', key, { type: 'merge', body }, signal));
    return true;
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return false;
    throw error;
  }
}
