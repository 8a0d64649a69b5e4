import type { CsiNode, Node } from '../kube/objects.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { hashOf } from './lots.ts';

/** What placement needs to know of a node. */
export interface NodeState {
  readonly name: string;
  readonly nameHash: number;
  /** its value under our topology key */
  readonly topologyValue: string;
  /** our driver is registered with its kubelet */
  readonly hasDriver: boolean;
  readonly isReady: boolean;
  /** since when it is not ready, by the cluster's clock; unset: it is, or nobody wrote it down */
  readonly notReadySinceMs?: number;
  readonly isCordoned: boolean;
  /** the first taint that keeps pods away */
  readonly taint?: { readonly key: string; readonly isLifecycle: boolean };
}

/** Taints that Kubernetes itself puts on nodes that are in trouble or on their way in or out. */
const lifecycleTaint = /^node\.(cloudprovider\.)?kubernetes\.io\//;

export function nodeStateOf(node: Node, csiNode: CsiNode | undefined, driverName: string): NodeState {
  const { name } = node.metadata;
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
  const isReady = ready?.status === 'True';
  const notReadySinceMs = isReady ? Number.NaN : Date.parse(ready?.lastTransitionTime ?? '');
  const repelling = (node.spec?.taints ?? []).filter(({ effect }) => effect !== 'PreferNoSchedule');
  const taint = repelling.find(({ key }) => lifecycleTaint.test(key)) ?? repelling[0];
  return {
    name,
    nameHash: hashOf(name),
    topologyValue: labelValueOf(name),
    hasDriver: csiNode?.spec.drivers.some((driver) => driver.name === driverName) ?? false,
    isReady,
    ...(Number.isNaN(notReadySinceMs) ? {} : { notReadySinceMs }),
    isCordoned: node.spec?.unschedulable === true,
    ...(taint === undefined
      ? {}
      : { taint: { key: taint.key, isLifecycle: lifecycleTaint.test(taint.key) } }),
  };
}
