import type { StorageClass } from '../kube/objects.ts';
import type { Segments } from '../model/topology.ts';

export function bindsImmediately(storageClass: StorageClass): boolean {
  return storageClass.volumeBindingMode !== 'WaitForFirstConsumer';
}

/**
 * Whether a class's allowedTopologies admit the node with these segments: any term, of which every expression has to hold.
 * No terms admit every node; a term without expressions admits none (as Kubernetes reads it).
 */
export function classAdmits(storageClass: StorageClass, own: Segments): boolean {
  const terms = storageClass.allowedTopologies ?? [];
  if (terms.length === 0) return true;
  return terms.some(({ matchLabelExpressions: expressions = [] }) => {
    return expressions.length > 0 && expressions.every(({ key, values }) => values.includes(own[key] ?? ''));
  });
}
