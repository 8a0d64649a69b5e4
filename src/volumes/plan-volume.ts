import type { BackendFeatures } from '../backends/backend.ts';
import { metadataKeys, parseClassParameters, type ClassParameters } from '../model/class-parameters.ts';
import type { CreateVolumeRequest } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import { parseMutableParameters, withChanges } from '../model/mutable-parameters.ts';
import { formatBytes, maxInt64 } from '../model/quantity.ts';
import type {
  BackendName,
  CapacityRange,
  ClaimRef,
  ContentSource,
  FsType,
  VolumeSpec,
} from '../model/volume.ts';
import { volumeIdOf, type VolumeId } from '../model/volume-id.ts';
import { blockBytes, ceilToBlock, floorToBlock } from './space/capacity.ts';
import { shapeOf, type CapabilityShape } from './check-capabilities.ts';

/** A CreateVolume request, read and found sound; which pool and backend serve it is decided after. */
export interface WantedVolume extends CapabilityShape {
  readonly id: VolumeId;
  readonly name: string;
  readonly range: CapacityRange;
  readonly parameters: ClassParameters;
  /** as given, without what the provisioner adds about the claim */
  readonly classParameters: Readonly<Record<string, string>>;
  /** of a VolumeAttributesClass, as given; `parameters` has them already */
  readonly mutable?: Readonly<Record<string, string>>;
  /** unset: the volume begins empty */
  readonly source?: ContentSource;
  readonly claim?: ClaimRef;
  readonly clusterUid?: string;
  readonly className?: string;
}

/** CSI: where the caller names no size. */
const defaultBytes = 1n << 30n;
const longestName = 128;
/** The smallest image that is formatted (filesystems.ts); less is rounded up to it. */
const smallestBytes: Record<FsType, bigint> = { ext4: 8n << 20n, xfs: 300n << 20n, btrfs: 128n << 20n };

/**
 * Reads a request as far as it can be judged without looking at a pool.
 *
 * @throws StorageError 'invalid-argument' | 'invalid-parameter' | 'unsupported-capability' | 'size-out-of-range'
 */
export function readCreateRequest(request: CreateVolumeRequest): WantedVolume {
  const { name, capabilities } = request;
  if (name === '') throw new StorageError('invalid-argument', 'the volume has no name; name it');
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes > longestName) {
    throw new StorageError(
      'invalid-argument',
      `the volume's name has ${nameBytes} bytes, ${longestName} are the most; shorten it`,
    );
  }
  if (capabilities.length === 0) {
    throw new StorageError(
      'invalid-argument',
      `volume ${name}: no capabilities are named; name at least one`,
    );
  }
  const source = sourceOf(request);
  const mutable = request.mutableParameters ?? {};
  const parameters = withChanges(parseClassParameters(request.parameters), parseMutableParameters(mutable));
  const shape = shapeOf(capabilities, parameters.sharing);
  checkRange(name, request.capacityRange);
  const claim = claimOf(request);
  const clusterUid = request.parameters[metadataKeys.clusterUid];
  const className = request.parameters[metadataKeys.className];
  const fsType =
    shape.accessType === 'block' ? undefined : agreedFsType(name, shape.fsType, parameters.fsType);
  return {
    id: volumeIdOf(name),
    name,
    accessType: shape.accessType,
    ...(fsType === undefined ? {} : { fsType }),
    range: request.capacityRange,
    parameters,
    classParameters: withoutMetadata(request.parameters),
    ...(Object.keys(mutable).length === 0 ? {} : { mutable }),
    ...(source === undefined ? {} : { source }),
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined || clusterUid === '' ? {} : { clusterUid }),
    ...(className === undefined || className === '' ? {} : { className }),
  };
}

/**
 * The exact shape, once a backend is chosen.
 *
 * @param source the shape of what it is made from; unset: it begins empty
 * @throws StorageError 'size-out-of-range'
 */
export function specOf(
  wanted: WantedVolume,
  backend: { readonly name: BackendName; readonly features: BackendFeatures },
  source?: VolumeSpec,
): VolumeSpec {
  const own = source?.fsType ?? wanted.fsType ?? backend.features.fsTypes[0];
  const fsType = wanted.accessType === 'mount' ? own : undefined;
  const { mode, uid, gid, provisioning, limit } = wanted.parameters;
  return {
    id: wanted.id,
    backend: backend.name,
    accessType: wanted.accessType,
    sizeBytes:
      source === undefined
        ? sizeOf(wanted.name, wanted.range, smallestSize(fsType))
        : copySize(wanted, source, smallestSize(fsType)),
    ...(fsType === undefined ? {} : { fsType }),
    provisioning,
    limit,
    ...(mode === undefined ? {} : { mode }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
}

/** The smallest volume of this kind. */
export function smallestSize(fsType: FsType | undefined): bigint {
  return fsType === undefined ? blockBytes : smallestBytes[fsType];
}

function sizeOf(name: string, range: CapacityRange, smallest: bigint): bigint {
  const most = range.limitBytes === 0n ? floorToBlock(maxInt64) : floorToBlock(range.limitBytes);
  const wanted = range.requiredBytes === 0n && most > defaultBytes ? defaultBytes : range.requiredBytes;
  const exact = ceilToBlock(wanted === 0n ? most : wanted);
  const size = exact < smallest ? smallest : exact;
  if (size > most) {
    const what =
      size === smallest
        ? `is at least ${formatBytes(smallest)} here`
        : `has whole blocks of ${blockBytes} bytes`;
    throw outOfRange(`volume ${name} ${what}, the limit is ${range.limitBytes} bytes; raise the limit`);
  }
  return size;
}

/** A copy's: the source's where none is named, and never less. */
function copySize({ name, range }: WantedVolume, source: VolumeSpec, smallest: bigint): bigint {
  const { requiredBytes, limitBytes } = range;
  const size =
    requiredBytes === 0n && (limitBytes === 0n || limitBytes >= source.sizeBytes)
      ? source.sizeBytes
      : sizeOf(name, range, smallest);
  if (size >= source.sizeBytes) return size;
  throw outOfRange(
    `volume ${name} is asked with ${formatBytes(size)}, its source has ${formatBytes(source.sizeBytes)}; ` +
      'ask for at least as much',
  );
}

/** @throws StorageError 'size-out-of-range' for a range that no volume can be in */
export function checkRange(name: string, { requiredBytes, limitBytes }: CapacityRange): void {
  if (requiredBytes < 0n || limitBytes < 0n) {
    throw outOfRange(`volume ${name}: sizes ${requiredBytes} and ${limitBytes} cannot be negative`);
  }
  const most = floorToBlock(maxInt64);
  if (requiredBytes > most || limitBytes > maxInt64) {
    throw outOfRange(`volume ${name}: ${requiredBytes} bytes are more than ${most}; ask for less`);
  }
  if (limitBytes !== 0n && limitBytes < requiredBytes) {
    throw outOfRange(
      `volume ${name} needs ${formatBytes(requiredBytes)} and may have ${formatBytes(limitBytes)} at most; raise the limit`,
    );
  }
}

function agreedFsType(
  name: string,
  asked: FsType | undefined,
  ofClass: FsType | undefined,
): FsType | undefined {
  if (asked !== undefined && ofClass !== undefined && asked !== ofClass) {
    throw new StorageError(
      'unsupported-capability',
      `volume ${name}: the capability asks for ${asked}, the class for ${ofClass}; name one`,
    );
  }
  return asked ?? ofClass;
}

function sourceOf({ name, contentSource }: CreateVolumeRequest): ContentSource | undefined {
  if (contentSource === undefined) return undefined;
  const { kind } = contentSource;
  const id = kind === 'snapshot' ? contentSource.snapshotId : contentSource.volumeId;
  if (id !== '') return contentSource;
  throw new StorageError(
    'invalid-argument',
    `volume ${name}: its source is a ${kind} without an id; name it`,
  );
}

/** The claim behind a request, where the provisioner told us, or the name gives its uid away. */
function claimOf({ name, parameters }: CreateVolumeRequest): ClaimRef | undefined {
  const claimName = parameters[metadataKeys.claimName] ?? '';
  const namespace = parameters[metadataKeys.claimNamespace] ?? '';
  const uid = parameters[metadataKeys.claimUid] ?? (name.startsWith('pvc-') ? name.slice('pvc-'.length) : '');
  return claimName === '' || namespace === '' || uid === '' ? undefined : { namespace, name: claimName, uid };
}

function withoutMetadata(parameters: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const ours: readonly string[] = Object.values(metadataKeys);
  return Object.fromEntries(
    Object.entries(parameters).filter(
      ([key]) => !key.startsWith('csi.storage.k8s.io/') && !ours.includes(key),
    ),
  );
}

function outOfRange(message: string): StorageError {
  return new StorageError('size-out-of-range', message);
}
