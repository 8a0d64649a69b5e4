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
        ...(own.ownDriver ? endOf(storageClass) : {}),
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

/** What the class says of the volume's end, where a person can change it. The driver has read the class, so that these are sound. */
function endOf({ parameters = {} }: StorageClass): Record<string, string> {
  const said = endings.map(([key, annotation]) => [annotation, parameters[key] ?? ''] as const);
  return Object.fromEntries(said.filter(([, text]) => text !== ''));
}

const endings = [
  ['retainFor', annotations.retainFor],
  ['onRelease', annotations.onRelease],
  ['onNodeLoss', annotations.onNodeLoss],
] as const;

function termOf(segments: Segments): NodeSelectorTerm {
  const matchExpressions = Object.entries(segments)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ key, operator: 'In', values: [value] }));
  return { matchExpressions };
}
