import { isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';

/** The claim of this name as the API server has it now; undefined: there is none. */
export async function lookUpClaim(
  api: KubeApi,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<PersistentVolumeClaim | undefined> {
  try {
    return await api.get('PersistentVolumeClaim', { namespace, name }, signal);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
