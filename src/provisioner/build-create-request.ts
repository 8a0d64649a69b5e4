import type { PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import { csiAccessMode, type KubeAccessMode } from '../model/access-mode.ts';
import { metadataKeys } from '../model/class-parameters.ts';
import type { ControllerCapability, CreateVolumeRequest } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { ContentSource, VolumeCapability } from '../model/volume.ts';
import { claimRefOf, requestedBytes, uidOf, volumeNameFor } from '../claims/claim-facts.ts';
import type { OwnSide } from '../claims/volume-facts.ts';

export type BuiltRequest =
  | { readonly kind: 'built'; readonly request: CreateVolumeRequest; readonly fsType: string }
  | { readonly kind: 'refused'; readonly reason: string };

const reservedPrefix = 'csi.storage.k8s.io/';
const secretRoles = [
  '',
  'provisioner-',
  'controller-publish-',
  'node-stage-',
  'node-publish-',
  'controller-expand-',
  'node-expand-',
  'controller-modify-',
];
const reservedKeys: ReadonlySet<string> = new Set([
  metadataKeys.fsType,
  ...secretRoles.flatMap((role) => [
    `${reservedPrefix}${role}secret-name`,
    `${reservedPrefix}${role}secret-namespace`,
  ]),
]);
const accessModes: readonly string[] = [
  'ReadWriteOnce',
  'ReadOnlyMany',
  'ReadWriteMany',
  'ReadWriteOncePod',
] satisfies readonly KubeAccessMode[];

/**
 * What the driver is asked for a claim. Pure, so that every attempt for the same claim and class asks for the same.
 * `refused` is a final answer: the class or the claim is wrong, and the driver was not asked.
 */
export function buildCreateRequest(input: {
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass;
  readonly capabilities: ReadonlySet<ControllerCapability>;
  readonly own: OwnSide;
  readonly clusterUid?: string | undefined;
  readonly contentSource?: ContentSource | undefined;
  /** of the claim's VolumeAttributesClass */
  readonly mutableParameters?: Readonly<Record<string, string>> | undefined;
}): BuiltRequest {
  const { claim, storageClass, own, contentSource, mutableParameters } = input;
  const parameters = storageClass.parameters ?? {};
  const fsTypeKeys = Object.keys(parameters).filter(
    (key) => key === metadataKeys.fsType || key.toLowerCase() === 'fstype',
  );
  if (fsTypeKeys.length > 1) {
    return refused(
      `the file system type is named more than once: ${fsTypeKeys.join(', ')}; keep ${metadataKeys.fsType}`,
    );
  }
  const unknown = Object.keys(parameters).find(
    (key) => key.startsWith(reservedPrefix) && !reservedKeys.has(key),
  );
  if (unknown !== undefined)
    return refused(`found unknown parameter key "${unknown}" with reserved namespace ${reservedPrefix}`);
  const modes = claim.spec.accessModes ?? [];
  const strange = modes.find((mode) => !accessModes.includes(mode));
  if (strange !== undefined) return refused(`access mode ${strange} is none of ${accessModes.join(', ')}`);
  let requiredBytes: bigint;
  try {
    requiredBytes = requestedBytes(claim);
  } catch (error) {
    return refused(messageOf(error));
  }
  if (requiredBytes === 0n) return refused('the claim asks for no size; set resources.requests.storage');

  const fsType = claim.spec.volumeMode === 'Block' ? '' : (parameters[fsTypeKeys[0] ?? ''] ?? '');
  const severalWriters = input.capabilities.has('SINGLE_NODE_MULTI_WRITER');
  const access: VolumeCapability['access'] =
    claim.spec.volumeMode === 'Block'
      ? { kind: 'block' }
      : { kind: 'mount', fsType, mountFlags: storageClass.mountOptions ?? [] };
  const request: CreateVolumeRequest = {
    name: volumeNameFor(uidOf(claim)),
    capacityRange: { requiredBytes, limitBytes: 0n },
    capabilities: modes.map((mode) => ({
      accessMode: csiAccessMode(mode as KubeAccessMode, severalWriters),
      access,
    })),
    parameters: {
      ...withoutReserved(parameters),
      ...metadataOf(claim, storageClass.metadata.name, own, input.clusterUid),
    },
    accessibility: { requisite: [own.segments], preferred: [own.segments] },
    ...(contentSource === undefined ? {} : { contentSource }),
    ...(mutableParameters === undefined ? {} : { mutableParameters }),
  };
  return { kind: 'built', request, fsType };
}

/** The class's parameters as a driver sees them; keys that only this loop may set are taken out too. */
function withoutReserved(parameters: Readonly<Record<string, string>>): Record<string, string> {
  const ownKeys: readonly string[] = [metadataKeys.claimUid, metadataKeys.clusterUid, metadataKeys.className];
  return Object.fromEntries(
    Object.entries(parameters).filter(([key]) => !reservedKeys.has(key) && !ownKeys.includes(key)),
  );
}

function metadataOf(
  claim: PersistentVolumeClaim,
  className: string,
  own: OwnSide,
  clusterUid: string | undefined,
): Record<string, string> {
  const { namespace, name, uid } = claimRefOf(claim);
  return {
    [metadataKeys.claimName]: name,
    [metadataKeys.claimNamespace]: namespace,
    [metadataKeys.volumeName]: volumeNameFor(uid),
    // others' drivers refuse parameters that they do not know
    ...(own.ownDriver ? { [metadataKeys.claimUid]: uid, [metadataKeys.className]: className } : {}),
    ...(own.ownDriver && clusterUid !== undefined ? { [metadataKeys.clusterUid]: clusterUid } : {}),
  };
}

function refused(reason: string): BuiltRequest {
  return { kind: 'refused', reason };
}
