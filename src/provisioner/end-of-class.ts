import type { StorageClass } from '../kube/objects.ts';
import * as annotations from '../claims/annotations.ts';

/** What a class says of its volumes' end, as annotations of a PV, where a person can change it for one volume. */
export function endOfClass({ parameters = {} }: StorageClass): Record<string, string> {
  const said = endings.map(([key, annotation]) => [annotation, parameters[key] ?? ''] as const);
  return Object.fromEntries(said.filter(([, text]) => text !== ''));
}

const endings = [
  ['retainFor', annotations.retainFor],
  ['onRelease', annotations.onRelease],
  ['onNodeLoss', annotations.onNodeLoss],
] as const;
