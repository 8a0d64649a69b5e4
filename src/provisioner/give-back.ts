import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { Outcome } from '../kube/work-queue.ts';
import type { Log } from '../model/log.ts';
import { nodeLabel, selectedNode } from '../claims/annotations.ts';
import { claimRefOf, logFacts, uidOf } from '../claims/claim-facts.ts';
import type { ClusterView } from './watches.ts';

/** This node cannot: the scheduler, or placement, may choose another. Only for volumes that were certainly not made. */
export async function giveBack(
  { api, watches, log }: { readonly api: KubeApi; readonly watches: ClusterView; readonly log: Log },
  claim: PersistentVolumeClaim,
  signal: AbortSignal,
): Promise<Outcome> {
  const { name, namespace = '', resourceVersion } = (watches.claimByUid(uidOf(claim)) ?? claim).metadata;
  const body = {
    metadata: { resourceVersion, annotations: { [selectedNode]: null }, labels: { [nodeLabel]: null } },
  };
  try {
    const moved = await api.patch(
      'PersistentVolumeClaim',
      { namespace, name },
      { type: 'merge', body },
      signal,
    );
    // else the next look would still see this node selected
    watches.putClaim(moved);
  } catch (error) {
    if (isNotFound(error)) return { kind: 'done' };
    if (!isConflict(error)) throw error;
    return { kind: 'retry' };
  }
  log.info(logFacts(claimRefOf(claim)), 'gave the claim back, for another node to be selected');
  return { kind: 'done' };
}
