import { isNotFound } from './api-error.ts';
import type { KindName, Kinds } from './kinds.ts';
import type { KubeApi, ObjectKey } from './kube-api.ts';

/** The object as the API server has it now; undefined: there is none. @throws what else `get` throws: then nothing is known */
export async function lookUp<K extends KindName>(
  api: KubeApi,
  kind: K,
  key: ObjectKey,
  signal: AbortSignal,
): Promise<Kinds[K] | undefined> {
  try {
    return await api.get(kind, key, signal);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
