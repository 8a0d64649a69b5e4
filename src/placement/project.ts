import * as annotations from '../claims/annotations.ts';
import { isFree, isOfDriver } from '../claims/volume-facts.ts';
import type {
  CsiNode,
  CsiStorageCapacity,
  KubeObject,
  Node,
  ObjectMeta,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
  VolumeSnapshot,
} from '../kube/objects.ts';
import { publisherOf } from './room.ts';

/** The controller sees every claim, volume and node of the cluster: of each it keeps what placement reads, and no more. */

const claimAnnotations = [
  annotations.selectedNode,
  annotations.storageProvisioner,
  annotations.betaStorageProvisioner,
  annotations.betaStorageClass,
  annotations.bindCompleted,
  annotations.migratedTo,
];

export function projectClaim({ metadata, spec, status }: PersistentVolumeClaim): PersistentVolumeClaim {
  const kept = { ...keptMeta(metadata, claimAnnotations), ...protectionOf(metadata) };
  const { storageClassName, volumeName } = spec;
  // nothing is ever asked of a bound one again
  if ((volumeName ?? '') !== '') return { metadata: kept, spec: { volumeName: volumeName ?? '' } };
  const {
    accessModes,
    volumeMode,
    volumeAttributesClassName,
    resources,
    selector,
    dataSource,
    dataSourceRef,
  } = spec;
  const { phase } = status ?? {};
  return {
    metadata: kept,
    spec: withoutUnset({
      accessModes,
      storageClassName,
      volumeMode,
      volumeAttributesClassName,
      resources,
      selector,
      dataSource,
      dataSourceRef,
    }),
    ...(phase === undefined ? {} : { status: { phase } }),
  };
}

/** Of a claim that is, or was, being cloned. */
function protectionOf({ finalizers = [] }: ObjectMeta): Pick<ObjectMeta, 'finalizers'> {
  const { cloningFinalizer } = annotations;
  return finalizers.includes(cloningFinalizer) ? { finalizers: [cloningFinalizer] } : {};
}

export function projectVolume(volume: PersistentVolume): PersistentVolume {
  const { metadata, spec, status } = volume;
  const kept = keptMeta(metadata, [annotations.betaStorageClass]);
  const { claimRef, storageClassName, capacity, accessModes, volumeMode, volumeAttributesClassName } = spec;
  const { phase } = status ?? {};
  if (!isFree(volume)) {
    const { namespace, name, uid } = claimRef ?? {};
    const ref =
      claimRef === undefined || claimRef === null ? {} : { claimRef: withoutUnset({ namespace, name, uid }) };
    return { metadata: kept, spec: ref, ...(phase === undefined ? {} : { status: { phase } }) };
  }
  return {
    metadata: kept,
    spec: withoutUnset({ storageClassName, capacity, accessModes, volumeMode, volumeAttributesClassName }),
    ...(phase === undefined ? {} : { status: { phase } }),
  };
}

/** For who keeps labels: the label, and of a bound claim its class too. */
export function projectLabelledClaim(claim: PersistentVolumeClaim): PersistentVolumeClaim {
  const kept = projectClaim(claim);
  const { storageClassName } = claim.spec;
  return {
    ...kept,
    metadata: labelledMeta(kept, claim),
    spec: { ...kept.spec, ...withoutUnset({ storageClassName }) },
  };
}

/** The same for PVs of this driver: the label, and what says where they are. */
export function projectLabelledVolume(driverName: string): (volume: PersistentVolume) => PersistentVolume {
  return (volume) => {
    const kept = projectVolume(volume);
    const { csi, nodeAffinity } = volume.spec;
    if (csi === undefined || !isOfDriver(volume, driverName)) return kept;
    const { driver, volumeHandle } = csi;
    return {
      ...kept,
      metadata: labelledMeta(kept, volume),
      spec: { ...kept.spec, csi: { driver, volumeHandle }, ...withoutUnset({ nodeAffinity }) },
    };
  };
}

function labelledMeta(kept: KubeObject, { metadata }: KubeObject): ObjectMeta {
  const value = metadata.labels?.[annotations.nodeLabel];
  return value === undefined
    ? kept.metadata
    : { ...kept.metadata, labels: { [annotations.nodeLabel]: value } };
}

export function projectNode({ metadata, spec, status }: Node): Node {
  const { unschedulable, taints } = spec ?? {};
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const conditions =
    ready === undefined
      ? []
      : [
          withoutUnset({
            type: ready.type,
            status: ready.status,
            lastTransitionTime: ready.lastTransitionTime,
          }),
        ];
  return {
    metadata: keptMeta(metadata, []),
    spec: withoutUnset({ unschedulable, taints }),
    status: { conditions },
  };
}

export function projectCsiNode(driverName: string): (csiNode: CsiNode) => CsiNode {
  return ({ metadata, spec }) => ({
    metadata: keptMeta(metadata, []),
    spec: { drivers: (spec.drivers ?? []).filter(({ name }) => name === driverName) },
  });
}

export function projectCapacity(object: CsiStorageCapacity): CsiStorageCapacity {
  const { metadata, storageClassName, nodeTopology, capacity, maximumVolumeSize } = object;
  const kept = keptMeta(metadata, [annotations.capacityReason]);
  const publisher = publisherOf(object);
  const labels =
    publisher === undefined
      ? {}
      : {
          labels: {
            [annotations.capacityManager]: annotations.ourManager,
            [annotations.nodeLabel]: publisher,
          },
        };
  return {
    metadata: { ...kept, ...labels },
    ...withoutUnset({ storageClassName, nodeTopology, capacity, maximumVolumeSize }),
  };
}

/** Only whether it is ready: everything else is looked up by who wants a volume made of it. */
export function projectSnapshot({ metadata, status }: VolumeSnapshot): VolumeSnapshot {
  const { readyToUse } = status ?? {};
  return {
    metadata: keptMeta(metadata, []),
    spec: { source: {} },
    ...(readyToUse === undefined ? {} : { status: { readyToUse } }),
  };
}

export function projectClass(storageClass: StorageClass): StorageClass {
  const { metadata, provisioner, volumeBindingMode, allowedTopologies } = storageClass;
  return {
    metadata: keptMeta(metadata, []),
    ...withoutUnset({ provisioner, volumeBindingMode, allowedTopologies }),
  };
}

function keptMeta(metadata: ObjectMeta, annotationNames: readonly string[]): ObjectMeta {
  const { name, namespace, uid, resourceVersion, deletionTimestamp } = metadata;
  const noted = Object.entries(metadata.annotations ?? {}).filter(([key]) => annotationNames.includes(key));
  return withoutUnset({
    name,
    namespace,
    uid,
    resourceVersion,
    deletionTimestamp,
    annotations: noted.length === 0 ? undefined : Object.fromEntries(noted),
  });
}

type WithoutUnset<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Fields that are not there cost nothing; fields that are there and undefined do. */
function withoutUnset<T extends object>(fields: T): WithoutUnset<T> {
  // dropping unset fields is exactly what the type says
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as WithoutUnset<T>;
}
