import type {
  NodeSelectorTerm,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../kube/objects.ts';
import type { DriverVolume } from '../model/csi-driver.ts';
import { formatQuantity } from '../model/quantity.ts';
import type { Segments } from '../model/topology.ts';
import * as annotations from '../claims/annotations.ts';
import { classNameOf, claimRefOf, requestedBytes, volumeNameFor } from '../claims/claim-facts.ts';
import type { OwnSide } from '../claims/volume-facts.ts';
import { endOfClass } from './end-of-class.ts';

/**
 * The PersistentVolume of a claim, from what its class says and its driver answered (external-provisioner's fields and annotations).
 *
 * @param identity which provisioner process made it, for people who search logs
 */
export function buildPersistentVolume(input: {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass;
  readonly volume: DriverVolume;
  readonly fsType: string;
  /** of the claim's VolumeAttributesClass, which goes before the class's */
  readonly retainFor?: string | undefined;
  readonly own: OwnSide;
  readonly identity: string;
}): PersistentVolume {
  const { claim, storageClass, volume, own } = input;
  const ref = claimRefOf(claim);
  const policy = storageClass.reclaimPolicy ?? 'Delete';
  const capacityBytes = volume.capacityBytes === 0n ? requestedBytes(claim) : volume.capacityBytes;
  const attributesClass = claim.spec.volumeAttributesClassName;
  const terms = volume.accessibleTopology.map(termOf);
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: volumeNameFor(ref.uid),
      labels: { [annotations.nodeLabel]: own.topologyValue },
      annotations: {
        [annotations.provisionedBy]: own.driverName,
        [annotations.deletionSecretName]: '',
        [annotations.deletionSecretNamespace]: '',
        ...(own.ownDriver ? endOfClass(storageClass) : {}),
        ...(input.retainFor === undefined ? {} : { [annotations.retainFor]: input.retainFor }),
      },
      ...(policy === 'Delete' ? { finalizers: [annotations.provisionerFinalizer] } : {}),
    },
    spec: {
      accessModes: [...(claim.spec.accessModes ?? [])],
      capacity: { storage: formatQuantity(capacityBytes) },
      claimRef: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        ...ref,
        ...(claim.metadata.resourceVersion === undefined
          ? {}
          : { resourceVersion: claim.metadata.resourceVersion }),
      },
      storageClassName: classNameOf(claim),
      volumeMode: claim.spec.volumeMode ?? 'Filesystem',
      persistentVolumeReclaimPolicy: policy,
      ...(storageClass.mountOptions === undefined ? {} : { mountOptions: [...storageClass.mountOptions] }),
      ...(attributesClass === undefined ? {} : { volumeAttributesClassName: attributesClass }),
      ...(terms.length === 0 ? {} : { nodeAffinity: { required: { nodeSelectorTerms: terms } } }),
      csi: {
        driver: own.driverName,
        volumeHandle: volume.volumeId,
        ...(input.fsType === '' ? {} : { fsType: input.fsType }),
        volumeAttributes: { [annotations.provisionerIdentity]: input.identity, ...volume.volumeContext },
      },
    },
  };
}

function termOf(segments: Segments): NodeSelectorTerm {
  const matchExpressions = Object.entries(segments)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ key, operator: 'In', values: [value] }));
  return { matchExpressions };
}
