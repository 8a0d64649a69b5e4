import { isDeepStrictEqual } from 'node:util';
import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeObject, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../kube/objects.ts';
import { isReason } from '../model/errors.ts';
import { parseQuantity } from '../model/quantity.ts';
import { invalid, type StatusCause } from './api-failure.ts';
import { resourceOf, type Resource } from './resources.ts';

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

/**
 * The checks of a real API server that matter for the storage loops; fields that they do not touch pass unseen.
 *
 * @param previous unset on create
 * @throws ApiFailure 422 with a cause for each field
 */
export function validate<K extends KindName>(
  kind: K,
  object: Kinds[K],
  previous: Kinds[K] | undefined,
): void {
  const resource = resourceOf(kind);
  const causes =
    previous === undefined ? nameCauses(resource, object) : metadataChangeCauses(object, previous);
  const check = checks[kind];
  causes.push(...(check?.(object, previous) ?? []));
  if (causes.length > 0) throw invalid(resource, object.metadata.name, causes);
}

type Checks = { [K in KindName]?: (object: Kinds[K], previous: Kinds[K] | undefined) => StatusCause[] };

const checks: Checks = {
  PersistentVolumeClaim: (claim, previous) =>
    previous === undefined
      ? claimCauses(claim)
      : [...claimCauses(claim), ...claimChangeCauses(claim, previous)],
  PersistentVolume: (volume, previous) =>
    previous === undefined
      ? volumeCauses(volume)
      : [...volumeCauses(volume), ...volumeChangeCauses(volume, previous)],
  StorageClass: (storageClass, previous) => classCauses(storageClass, previous),
  Event: (event) => {
    const namespace = event.involvedObject.namespace ?? 'default';
    if (namespace === event.metadata.namespace) return [];
    return [
      wrong(
        'involvedObject.namespace',
        event.involvedObject.namespace ?? '',
        'does not match event.namespace',
      ),
    ];
  },
};

function nameCauses(resource: Resource, object: KubeObject): StatusCause[] {
  const { name } = object.metadata;
  const pattern = resource.kind === 'Namespace' ? label : subdomain;
  const limit = resource.kind === 'Namespace' ? 63 : 253;
  if (pattern.test(name) && name.length <= limit) return [];
  return [
    wrong(
      'metadata.name',
      name,
      'a name is lower case letters, digits, - and ., starting and ending with a letter or digit',
    ),
  ];
}

function metadataChangeCauses(object: KubeObject, previous: KubeObject): StatusCause[] {
  if (previous.metadata.deletionTimestamp === undefined) return [];
  const known = previous.metadata.finalizers ?? [];
  const added = (object.metadata.finalizers ?? []).filter((finalizer) => !known.includes(finalizer));
  if (added.length === 0) return [];
  return [
    denied(
      'metadata.finalizers',
      `no new finalizers can be added if the object is being deleted, found ${added.join(', ')}`,
    ),
  ];
}

function claimCauses(claim: PersistentVolumeClaim): StatusCause[] {
  const causes = accessModeCauses(claim.spec.accessModes);
  const size = claim.spec.resources?.requests?.['storage'];
  if (size === undefined) causes.push(missing('spec.resources[storage]'));
  else if (bytesOf(size) <= 0n)
    causes.push(wrong('spec.resources[storage]', size, 'must be greater than zero'));
  return causes;
}

/** Immutable but for the volume's name, once, and the request of a bound claim. */
function claimChangeCauses(claim: PersistentVolumeClaim, previous: PersistentVolumeClaim): StatusCause[] {
  const isBound = claim.status?.phase === 'Bound';
  const strip = (spec: PersistentVolumeClaim['spec']): object => ({
    ...spec,
    ...((previous.spec.volumeName ?? '') === '' ? { volumeName: '' } : {}),
    ...((previous.spec.storageClassName ?? undefined) === undefined ? { storageClassName: '' } : {}),
    ...(isBound ? { resources: { ...spec.resources, requests: {} }, volumeAttributesClassName: '' } : {}),
  });
  const causes: StatusCause[] = [];
  if (!isDeepStrictEqual(strip(claim.spec), strip(previous.spec))) {
    const but = 'except resources.requests and volumeAttributesClassName for bound claims';
    causes.push(denied('spec', `spec is immutable after creation ${but}`));
  }
  const size = bytesOf(claim.spec.resources?.requests?.['storage'] ?? '0');
  const before = bytesOf(previous.spec.resources?.requests?.['storage'] ?? '0');
  if (size < before && size <= bytesOf(previous.status?.capacity?.['storage'] ?? '0')) {
    causes.push(denied('spec.resources.requests.storage', 'field can not be less than status.capacity'));
  }
  return causes;
}

function volumeCauses(volume: PersistentVolume): StatusCause[] {
  const causes = accessModeCauses(volume.spec.accessModes);
  const size = volume.spec.capacity?.['storage'];
  if (size === undefined) causes.push(missing('spec.capacity'));
  else if (bytesOf(size) <= 0n)
    causes.push(wrong('spec.capacity[storage]', size, 'must be greater than zero'));
  const policy = volume.spec.persistentVolumeReclaimPolicy;
  if (policy !== undefined && !['Delete', 'Recycle', 'Retain'].includes(policy)) {
    causes.push(unsupported('spec.persistentVolumeReclaimPolicy', policy, ['Delete', 'Recycle', 'Retain']));
  }
  if (sourceOf(volume) === undefined)
    causes.push({
      reason: 'FieldValueRequired',
      message: 'Required value: must specify a volume type',
      field: 'spec',
    });
  const { csi } = volume.spec;
  if (csi !== undefined && !csi.driver) causes.push(missing('spec.csi.driver'));
  if (csi !== undefined && !csi.volumeHandle) causes.push(missing('spec.csi.volumeHandle'));
  return causes;
}

function volumeChangeCauses(volume: PersistentVolume, previous: PersistentVolume): StatusCause[] {
  const causes: StatusCause[] = [];
  if (!isDeepStrictEqual(sourceOf(volume), sourceOf(previous))) {
    causes.push(
      denied('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation'),
    );
  }
  if (volume.spec.volumeMode !== previous.spec.volumeMode) {
    causes.push(wrong('volumeMode', volume.spec.volumeMode ?? '', 'field is immutable'));
  }
  if (
    previous.spec.nodeAffinity !== undefined &&
    !isDeepStrictEqual(volume.spec.nodeAffinity, previous.spec.nodeAffinity)
  ) {
    causes.push(wrong('nodeAffinity', JSON.stringify(volume.spec.nodeAffinity), 'field is immutable'));
  }
  return causes;
}

const sources = ['csi', 'local', 'hostPath', 'nfs', 'iscsi', 'fc'];

function sourceOf(volume: PersistentVolume): unknown {
  const found = Object.entries(volume.spec).find(([field]) => sources.includes(field));
  return found?.[1];
}

function classCauses(storageClass: StorageClass, previous: StorageClass | undefined): StatusCause[] {
  const causes: StatusCause[] = [];
  if (!storageClass.provisioner) causes.push(missing('provisioner'));
  const { reclaimPolicy, volumeBindingMode } = storageClass;
  if (reclaimPolicy !== undefined && !['Delete', 'Retain'].includes(reclaimPolicy)) {
    causes.push(unsupported('reclaimPolicy', reclaimPolicy, ['Delete', 'Retain']));
  }
  if (volumeBindingMode !== undefined && !['Immediate', 'WaitForFirstConsumer'].includes(volumeBindingMode)) {
    causes.push(unsupported('volumeBindingMode', volumeBindingMode, ['Immediate', 'WaitForFirstConsumer']));
  }
  if (previous === undefined) return causes;
  if (!isDeepStrictEqual(storageClass.parameters ?? {}, previous.parameters ?? {})) {
    causes.push(wrong('parameters', JSON.stringify(storageClass.parameters), 'field is immutable'));
  }
  if (storageClass.provisioner !== previous.provisioner)
    causes.push(wrong('provisioner', storageClass.provisioner, 'field is immutable'));
  if (reclaimPolicy !== previous.reclaimPolicy)
    causes.push(wrong('reclaimPolicy', reclaimPolicy ?? '', 'field is immutable'));
  if (volumeBindingMode !== previous.volumeBindingMode)
    causes.push(wrong('volumeBindingMode', volumeBindingMode ?? '', 'field is immutable'));
  return causes;
}

function accessModeCauses(modes: readonly string[] | undefined): StatusCause[] {
  if (modes === undefined || modes.length === 0) {
    return [
      {
        reason: 'FieldValueRequired',
        message: 'Required value: at least 1 access mode is required',
        field: 'spec.accessModes',
      },
    ];
  }
  const odd = modes.find((mode) => !accessModes.includes(mode));
  if (odd !== undefined) return [unsupported('spec.accessModes', odd, accessModes)];
  if (!modes.includes('ReadWriteOncePod') || modes.length === 1) return [];
  return [denied('spec.accessModes', 'may not use ReadWriteOncePod with other access modes')];
}

/** -1 for what is no size at all, so that it counts as too small. */
function bytesOf(text: string): bigint {
  try {
    return parseQuantity(text);
  } catch (error) {
    // larger numbers than fit are capped, not refused
    return isReason(error, 'size-out-of-range') ? (1n << 63n) - 1n : -1n;
  }
}

function missing(field: string): StatusCause {
  return { reason: 'FieldValueRequired', message: 'Required value', field };
}

function wrong(field: string, value: string, why: string): StatusCause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}

function denied(field: string, why: string): StatusCause {
  return { reason: 'FieldValueForbidden', message: `Forbidden: ${why}`, field };
}

function unsupported(field: string, value: string, known: readonly string[]): StatusCause {
  const list = known.map((word) => JSON.stringify(word)).join(', ');
  return {
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`,
    field,
  };
}
