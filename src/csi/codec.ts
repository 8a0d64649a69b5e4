import { accessModes } from '../model/access-mode.ts';
import type { Capacity, DriverVolume, ListedVolume } from '../model/csi-driver.ts';
import type { UsageEntry } from '../model/node-driver.ts';
import type { Segments, TopologyRequirement } from '../model/topology.ts';
import type { CapacityRange, VolumeCapability } from '../model/volume.ts';
import type { CapacityRange as WireRange, CapacityRangeInit } from './generated/csi/v1/CapacityRange.ts';
import type { GetCapacityResponse, GetCapacityResponseInit } from './generated/csi/v1/GetCapacityResponse.ts';
import type { Topology } from './generated/csi/v1/Topology.ts';
import type { TopologyRequirement as WireRequirement } from './generated/csi/v1/TopologyRequirement.ts';
import type { Volume, VolumeInit } from './generated/csi/v1/Volume.ts';
import type {
  VolumeCapability as WireCapability,
  VolumeCapabilityInit,
} from './generated/csi/v1/VolumeCapability.ts';
import type { NodeGetVolumeStatsResponse } from './generated/csi/v1/NodeGetVolumeStatsResponse.ts';
import type { VolumeUsageInit } from './generated/csi/v1/VolumeUsage.ts';
import { readEcho, writeContentSource } from './source-codec.ts';
import { boundedMap, boundedTexts, invalidField, optionalText } from './validate.ts';

/** @throws StorageError 'invalid-argument' where it is missing, or says neither mount nor block, or no access mode */
export function readCapability(field: string, wire: WireCapability | undefined): VolumeCapability {
  if (wire === undefined) throw invalidField(field, 'is missing');
  const accessMode = accessModes.find((mode) => mode === wire.accessMode?.mode);
  if (accessMode === undefined)
    throw invalidField(`${field}.access_mode`, 'is missing or not one of CSI 1.12');
  if (wire.block !== undefined) return { accessMode, access: { kind: 'block' } };
  if (wire.mount === undefined) throw invalidField(`${field}.access_type`, 'is missing; say mount or block');
  const { fsType, mountFlags, volumeMountGroup } = wire.mount;
  boundedTexts(`${field}.mount.mount_flags`, mountFlags);
  if (mountFlags.some((flag) => flag.includes('\0')))
    throw invalidField(`${field}.mount.mount_flags`, 'contain a NUL');
  const group = optionalText(`${field}.mount.volume_mount_group`, volumeMountGroup);
  return {
    accessMode,
    access: {
      kind: 'mount',
      fsType: optionalText(`${field}.mount.fs_type`, fsType),
      mountFlags,
      ...(group === '' ? {} : { volumeMountGroup: group }),
    },
  };
}

export function readCapabilities(wire: readonly WireCapability[]): readonly VolumeCapability[] {
  return wire.map((one, index) => readCapability(`volume_capabilities[${index}]`, one));
}

/** As `readCapabilities`, and at least one. */
export function requiredCapabilities(wire: readonly WireCapability[]): readonly VolumeCapability[] {
  if (wire.length === 0) throw invalidField('volume_capabilities', 'is missing');
  return readCapabilities(wire);
}

export function writeCapability({ access, accessMode }: VolumeCapability): VolumeCapabilityInit {
  if (access.kind === 'block') return { accessMode: { mode: accessMode }, block: {} };
  const { fsType, mountFlags, volumeMountGroup } = access;
  const group = volumeMountGroup === undefined ? {} : { volumeMountGroup };
  return { accessMode: { mode: accessMode }, mount: { fsType, mountFlags: [...mountFlags], ...group } };
}

export function writeCapacityRange({ requiredBytes, limitBytes }: CapacityRange): CapacityRangeInit {
  return { requiredBytes: requiredBytes.toString(), limitBytes: limitBytes.toString() };
}

/** As `readCapacityRange`, of a request that means nothing without one. */
export function requiredCapacityRange(wire: WireRange | undefined): CapacityRange {
  if (wire === undefined) throw invalidField('capacity_range', 'is missing');
  return readCapacityRange(wire);
}

/** @throws StorageError 'invalid-argument' for a negative bound */
export function readCapacityRange(wire: WireRange | undefined): CapacityRange {
  const range = {
    requiredBytes: BigInt(wire?.requiredBytes ?? 0),
    limitBytes: BigInt(wire?.limitBytes ?? 0),
  };
  if (range.requiredBytes < 0n)
    throw invalidField('capacity_range.required_bytes', `is negative: ${range.requiredBytes}`);
  if (range.limitBytes < 0n)
    throw invalidField('capacity_range.limit_bytes', `is negative: ${range.limitBytes}`);
  return range;
}

export function readTopology(wire: Topology): Segments {
  return boundedMap('segments', wire.segments);
}

export function readRequirement(wire: WireRequirement): TopologyRequirement {
  return { requisite: wire.requisite.map(readTopology), preferred: wire.preferred.map(readTopology) };
}

export function writeRequirement({ requisite, preferred }: TopologyRequirement): WireRequirement {
  return { requisite: requisite.map(writeTopology), preferred: preferred.map(writeTopology) };
}

export function writeTopology(segments: Segments): Topology {
  return { segments: { ...segments } };
}

export function writeVolume(volume: DriverVolume): VolumeInit {
  return {
    volumeId: volume.volumeId,
    capacityBytes: volume.capacityBytes.toString(),
    volumeContext: { ...volume.volumeContext },
    accessibleTopology: volume.accessibleTopology.map(writeTopology),
    ...(volume.contentSource === undefined
      ? {}
      : { contentSource: writeContentSource(volume.contentSource) }),
  };
}

/** @throws Error for an answer without a volume: what such a driver did is unknown */
export function readVolume(wire: Volume | undefined): DriverVolume {
  if (wire?.volumeId === undefined || wire.volumeId === '')
    throw new Error('the driver answered OK without a volume id');
  const contentSource = readEcho(wire.contentSource);
  return {
    volumeId: wire.volumeId,
    capacityBytes: BigInt(wire.capacityBytes ?? 0),
    volumeContext: wire.volumeContext,
    accessibleTopology: wire.accessibleTopology.map(({ segments }) => segments),
    ...(contentSource === undefined ? {} : { contentSource }),
  };
}

/** ListVolumes and ControllerGetVolume say the same. */
export function writeListed({ volume, condition }: ListedVolume) {
  return { volume: writeVolume(volume), status: { volumeCondition: { ...condition } } };
}

export function writeCapacity(capacity: Capacity): GetCapacityResponseInit {
  const { availableBytes, maximumVolumeBytes, minimumVolumeBytes } = capacity;
  return {
    availableCapacity: availableBytes.toString(),
    ...(maximumVolumeBytes === undefined
      ? {}
      : { maximumVolumeSize: { value: maximumVolumeBytes.toString() } }),
    ...(minimumVolumeBytes === undefined
      ? {}
      : { minimumVolumeSize: { value: minimumVolumeBytes.toString() } }),
  };
}

export function readCapacity(wire: GetCapacityResponse): Capacity {
  const { availableCapacity, maximumVolumeSize, minimumVolumeSize } = wire;
  return {
    availableBytes: BigInt(availableCapacity ?? 0),
    ...(maximumVolumeSize === undefined ? {} : { maximumVolumeBytes: BigInt(maximumVolumeSize.value ?? 0) }),
    ...(minimumVolumeSize === undefined ? {} : { minimumVolumeBytes: BigInt(minimumVolumeSize.value ?? 0) }),
  };
}

export function writeUsage({ unit, available, total, used }: UsageEntry): VolumeUsageInit {
  return { unit, available: available.toString(), total: total.toString(), used: used.toString() };
}

export function readUsage(wire: NodeGetVolumeStatsResponse): readonly UsageEntry[] {
  return wire.usage.flatMap(({ unit, available, total, used }) =>
    unit === 'BYTES' || unit === 'INODES'
      ? [{ unit, available: BigInt(available ?? 0), total: BigInt(total ?? 0), used: BigInt(used ?? 0) }]
      : [],
  );
}
