import { createHash } from 'node:crypto';
import {
  capacityDriver,
  capacityManager,
  capacityReason,
  nodeLabel,
  ourManager,
} from '../../claims/annotations.ts';
import type { CsiStorageCapacity } from '../../kube/objects.ts';
import { formatQuantity } from '../../model/quantity.ts';
import type { Segments } from '../../model/topology.ts';

const longestReason = 300;

/** Whose capacity it is: one driver's on one node. */
export interface CapacityScope {
  readonly driverName: string;
  readonly nodeName: string;
  /** the node as a label value */
  readonly topologyValue: string;
  /** where the objects lie */
  readonly namespace: string;
}

/** The Node that the objects go away with, and the labels by which the scheduler knows that they speak of it. */
export interface OwnerNode {
  readonly uid: string;
  readonly segments: Segments;
}

/** What is left for the volumes of one class. */
export interface Room {
  readonly availableBytes: bigint;
  /** the largest single volume; never more than what is available */
  readonly largestBytes: bigint;
  /** why nothing fits; only where nothing does */
  readonly reason?: string;
}

/**
 * Always the same for a class, so that whatever is repeated after a crash is the same object. The node stands in it for the
 * admission policy (deploy/chart): else a node could take the names of another's objects, which then had none.
 */
export function capacityNameOf(
  { driverName, nodeName, topologyValue }: CapacityScope,
  className: string,
): string {
  const key = JSON.stringify([driverName, nodeName, className]);
  return `csisc-${topologyValue}-${createHash('sha256').update(key).digest('hex').slice(0, 32)}`;
}

export function capacityLabels(scope: CapacityScope): Record<string, string> {
  return {
    [capacityDriver]: scope.driverName,
    [capacityManager]: ourManager,
    [nodeLabel]: scope.topologyValue,
  };
}

export function capacitySelector(scope: CapacityScope): string {
  return Object.entries(capacityLabels(scope))
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** Whether this process made it, or an earlier one of this node and driver. Others' objects are never touched. */
export function isOwnCapacity({ metadata }: CsiStorageCapacity, scope: CapacityScope): boolean {
  if (metadata.namespace !== scope.namespace) return false;
  return Object.entries(capacityLabels(scope)).every(([key, value]) => metadata.labels?.[key] === value);
}

/**
 * The object as it should be. Owned by the Node and not by our pod: it goes with the node, and stays while our pod is being
 * replaced. Without `controller`, since nothing of it is the Node's work.
 */
export function buildCapacity(
  scope: CapacityScope,
  className: string,
  owner: OwnerNode,
  room: Room,
): CsiStorageCapacity {
  const { reason } = room;
  return {
    metadata: {
      name: capacityNameOf(scope, className),
      namespace: scope.namespace,
      labels: capacityLabels(scope),
      ...(reason === undefined ? {} : { annotations: { [capacityReason]: cut(reason) } }),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: scope.nodeName, uid: owner.uid }],
    },
    storageClassName: className,
    nodeTopology: { matchLabels: { ...owner.segments } },
    capacity: formatQuantity(room.availableBytes),
    // where it is given the scheduler looks at nothing else
    maximumVolumeSize: formatQuantity(room.largestBytes),
  };
}

function cut(reason: string): string {
  return reason.length > longestReason ? `${reason.slice(0, longestReason - 1)}…` : reason;
}
