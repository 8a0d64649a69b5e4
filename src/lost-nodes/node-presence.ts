import type { KubeApi } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { CsiNode, Node } from '../kube/objects.ts';
import { labelValueOf } from '../model/topology-value.ts';
import type { NodePresence } from './decide-loss.ts';

/**
 * How the node of a topology value looks, by all Nodes and CSINodes that could be it. Who gave its process another name than its Node's
 * has no Node of that name, and yet a driver registered under it: then it is there.
 */
export function presenceOf(nodes: readonly Node[], registered: readonly CsiNode[]): NodePresence {
  if (nodes.length === 0) return registered.length > 0 ? { kind: 'there' } : { kind: 'gone' };
  let latestMs: number | undefined;
  for (const { status } of nodes) {
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status === 'True') return { kind: 'there' };
    const sinceMs = Date.parse(ready?.lastTransitionTime ?? '');
    if (!Number.isNaN(sinceMs)) latestMs = Math.max(latestMs ?? sinceMs, sinceMs);
  }
  return { kind: 'away', ...(latestMs === undefined ? {} : { sinceMs: latestMs }) };
}

/** The same, asked of the API server now. */
export async function livePresence(
  api: KubeApi,
  topologyValue: string,
  registered: readonly CsiNode[],
  signal: AbortSignal,
): Promise<NodePresence> {
  const isIt = ({ metadata }: Node): boolean => labelValueOf(metadata.name) === topologyValue;
  if (isName(topologyValue)) {
    const node = await lookUp(api, 'Node', { name: topologyValue }, signal);
    return presenceOf(node === undefined ? [] : [node], registered);
  }
  const { items } = await api.list('Node', { keep: isIt }, signal);
  return presenceOf(items, registered);
}

/** Whether a topology value is the node's very name; one of full length may stand for a longer name. */
export function isName(topologyValue: string): boolean {
  return topologyValue.length < 63;
}
