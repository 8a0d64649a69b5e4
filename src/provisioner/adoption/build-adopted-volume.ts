import type { PersistentVolume, StorageClass } from '../../kube/objects.ts';
import type { KubeAccessMode } from '../../model/access-mode.ts';
import { formatQuantity } from '../../model/quantity.ts';
import { nodeTopologyKey } from '../../model/topology.ts';
import type { HeldVolume } from '../../model/volume-ledger.ts';
import { backendKey, limitKey, poolUuidKey } from '../../model/volume.ts';
import * as annotations from '../../claims/annotations.ts';
import { endOfClass } from '../end-of-class.ts';

/** How a volume came to a PV that was not made for a claim. */
export type AdoptedHow = 'by-name' | 'by-hand' | 'discovered';

export interface AdoptionWish {
  readonly volume: HeldVolume;
  readonly how: AdoptedHow;
  readonly driverName: string;
  readonly topologyValue: string;
  /** the class that the PV is to be of; unset: '' */
  readonly storageClass?: StorageClass;
  /** unset: the class's policy where one is given, else Retain */
  readonly policy?: 'Delete' | 'Retain';
  /** the claim that it is reserved for, of whatever uid; unset: any that fits */
  readonly claim?: { readonly namespace: string; readonly name: string };
  /** unset: ReadWriteOnce, and those of shared volumes where it is one */
  readonly accessModes?: readonly KubeAccessMode[];
}

/** The name of the PV of an adopted volume: the same at every attempt. */
export function adoptedName(volumeId: string): string {
  return `adopted-${volumeId}`;
}

/**
 * The PV of a volume that was there before. Never stamped with who provisioned it: kube-controller-manager would release it where its
 * claim was merely bound to another one. It has no finalizer before it is bound, when the reclaim loop puts it there: until then whoever
 * deletes the PV only takes the offer back.
 */
export function buildAdoptedVolume(wish: AdoptionWish): PersistentVolume {
  const { volume, how, driverName, topologyValue, storageClass, claim } = wish;
  const policy =
    wish.policy ?? storageClass?.reclaimPolicy ?? (storageClass === undefined ? 'Retain' : 'Delete');
  const { [annotations.onRelease]: onRelease, ...end } =
    storageClass === undefined ? {} : endOfClass(storageClass);
  // who says Retain, of data that was there before, does not mean that it is emptied
  const isEmptied = onRelease !== undefined && wish.policy === undefined;
  const mountOptions = storageClass?.mountOptions;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name: adoptedName(volume.volumeId),
      labels: { [annotations.nodeLabel]: topologyValue },
      annotations: {
        [annotations.adopted]: how,
        ...end,
        ...(isEmptied ? { [annotations.onRelease]: onRelease } : {}),
      },
    },
    spec: {
      accessModes: [...(wish.accessModes ?? modesOf(volume))],
      capacity: { storage: formatQuantity(volume.sizeBytes) },
      // no uid: whichever claim has the name
      ...(claim === undefined
        ? {}
        : {
            claimRef: {
              apiVersion: 'v1',
              kind: 'PersistentVolumeClaim',
              namespace: claim.namespace,
              name: claim.name,
            },
          }),
      storageClassName: storageClass?.metadata.name ?? '',
      volumeMode: volume.accessType === 'block' ? 'Block' : 'Filesystem',
      persistentVolumeReclaimPolicy: policy,
      ...(mountOptions === undefined || volume.accessType === 'block'
        ? {}
        : { mountOptions: [...mountOptions] }),
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: nodeTopologyKey, operator: 'In', values: [topologyValue] }] },
          ],
        },
      },
      csi: {
        driver: driverName,
        volumeHandle: volume.volumeId,
        ...(volume.fsType === undefined ? {} : { fsType: volume.fsType }),
        volumeAttributes: {
          [poolUuidKey]: volume.poolUuid,
          [backendKey]: volume.backend,
          [limitKey]: volume.limit,
        },
      },
    },
  };
}

/** ReadWriteOncePod may not stand beside another mode, so it is only given where a claim asks for it. */
function modesOf({ sharing }: HeldVolume): readonly KubeAccessMode[] {
  return sharing === 'node' ? ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany'] : ['ReadWriteOnce'];
}
