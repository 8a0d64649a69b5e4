import { createHash, randomUUID } from 'node:crypto';
import type {
  CsiStorageCapacity,
  KubeEvent,
  PersistentVolume,
  PersistentVolumeClaim,
} from '../../src/kube/objects.ts';
import { labelValueOf } from '../../src/model/topology-value.ts';

export const topologyKey = 'topology.loam.dev/node';
export const selectedNode = 'volume.kubernetes.io/selected-node';
export const loamNamespace = 'loam-system';

/** A PV as a node's process makes it, for a claim that nobody has. */
export function aVolumeOn(node: string, spec: Partial<PersistentVolume['spec']> = {}): PersistentVolume {
  const uid = randomUUID();
  const value = labelValueOf(node);
  const term = { matchExpressions: [{ key: topologyKey, operator: 'In', values: [value] }] };
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: `pvc-${uid}`,
      labels: { 'loam.dev/node': value },
      annotations: { 'pv.kubernetes.io/provisioned-by': 'loam.dev' },
      finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '1Mi' },
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'default', name: 'any', uid },
      storageClassName: 'loam',
      persistentVolumeReclaimPolicy: 'Delete',
      csi: { driver: 'loam.dev', volumeHandle: `pvc-${uid}` },
      nodeAffinity: { required: { nodeSelectorTerms: [term] } },
      ...spec,
    },
  };
}

/** A claim that waits for this node, or for none yet. */
export function aClaimFor(node: string | undefined, name: string): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace: 'default',
      labels: { app: 'shop' },
      annotations: { app: 'shop', ...(node === undefined ? {} : { [selectedNode]: node }) },
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'loam',
      resources: { requests: { storage: '1Mi' } },
    },
  };
}

/** @param what makes its name another, as the class does */
export function aCapacityOf(node: string, what: string): CsiStorageCapacity {
  const value = labelValueOf(node);
  const name = `csisc-${value}-${createHash('sha256').update(what).digest('hex').slice(0, 32)}`;
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIStorageCapacity',
    metadata: {
      name,
      namespace: loamNamespace,
      labels: { 'loam.dev/node': value },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node, uid: randomUUID() }],
    },
    storageClassName: 'loam',
    nodeTopology: { matchLabels: { [topologyKey]: value } },
    capacity: '1Gi',
  };
}

export function anEventBy(node: string, name: string): KubeEvent {
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace: 'default' },
    involvedObject: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'default', name: 'any' },
    reason: 'Said',
    message: 'something',
    type: 'Normal',
    source: { component: 'loam.dev', host: node },
    reportingComponent: 'loam.dev',
    reportingInstance: node,
  };
}

/** For a PV's spec: one term of these expressions. */
export function affinityOf(
  matchExpressions: { key: string; operator: string; values?: string[] }[],
): Partial<PersistentVolume['spec']> {
  return { nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions }] } } };
}

/** For a PV's spec: a term for each node. */
export function twoTerms(...names: readonly string[]): Partial<PersistentVolume['spec']> {
  const nodeSelectorTerms = names.map((name) => ({
    matchExpressions: [{ key: topologyKey, operator: 'In', values: [name] }],
  }));
  return { nodeAffinity: { required: { nodeSelectorTerms } } };
}
