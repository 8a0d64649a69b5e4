import type { CsiNode, CsiStorageCapacity, Node } from '../../../src/kube/objects.ts';
import type { Candidate } from '../../../src/placement/decide-node.ts';
import { hashOf } from '../../../src/placement/lots.ts';
import type { NodeState } from '../../../src/placement/node-state.ts';

export const Gi = 1n << 30n;

export function aNodeState(changes: Partial<NodeState> & { readonly name?: string } = {}): NodeState {
  const name = changes.name ?? 'node-a';
  const nameHash = hashOf(name);
  return {
    name,
    nameHash,
    topologyValue: name,
    hasDriver: true,
    isReady: true,
    isCordoned: false,
    ...changes,
  };
}

/** A node in order with 10 GiB left. */
export function aCandidate(
  name: string,
  changes: Partial<Omit<Candidate, 'node'>> & {
    readonly node?: Partial<NodeState>;
    readonly freeBytes?: bigint;
    readonly why?: string;
  } = {},
): Candidate {
  const { node = {}, freeBytes = 10n * Gi, why, ...rest } = changes;
  return {
    node: aNodeState({ ...node, name }),
    room: { largestBytes: freeBytes, freeBytes, ...(why === undefined ? {} : { why }) },
    promisedBytes: 0n,
    refusedForMs: 0,
    ...rest,
  };
}

/** A node that publishes nothing. */
export function unpublished(candidate: Candidate): Candidate {
  return { ...candidate, room: undefined };
}

interface NodeWish {
  readonly isReady?: boolean;
  readonly notReadySince?: string;
  readonly taints?: { key: string; effect: string }[];
  readonly isCordoned?: boolean;
}

export function aNode(name: string, wish: NodeWish = {}): Node {
  const { isReady = true, notReadySince, taints, isCordoned } = wish;
  return {
    metadata: { name },
    spec: {
      ...(isCordoned === undefined ? {} : { unschedulable: isCordoned }),
      ...(taints === undefined ? {} : { taints }),
    },
    status: {
      conditions: [
        {
          type: 'Ready',
          status: isReady ? 'True' : 'Unknown',
          ...(notReadySince === undefined ? {} : { lastTransitionTime: notReadySince }),
        },
      ],
    },
  };
}

export function aCsiNode(name: string, drivers: readonly string[] = ['loam.dev']): CsiNode {
  return {
    metadata: { name },
    spec: {
      drivers: drivers.map((driver) => ({
        name: driver,
        nodeID: name,
        topologyKeys: ['topology.loam.dev/node'],
      })),
    },
  };
}

export function aCapacity(
  nodeName: string,
  className: string,
  size: string,
  why?: string,
): CsiStorageCapacity {
  return {
    metadata: {
      name: `csisc-${className}-${nodeName}`,
      namespace: 'loam',
      labels: {
        'csi.storage.k8s.io/drivername': 'loam.dev',
        'csi.storage.k8s.io/managed-by': 'loam',
        'loam.dev/node': nodeName,
      },
      ...(why === undefined ? {} : { annotations: { 'loam.dev/reason': why } }),
    },
    storageClassName: className,
    nodeTopology: { matchLabels: { 'topology.loam.dev/node': nodeName } },
    capacity: size,
    maximumVolumeSize: size,
  };
}
