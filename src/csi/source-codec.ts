import type { DriverSnapshot } from '../model/csi-driver.ts';
import type { ContentSource } from '../model/volume.ts';
import type { Snapshot, SnapshotInit } from './generated/csi/v1/Snapshot.ts';
import type { Timestamp } from './generated/google/protobuf/Timestamp.ts';
import type { VolumeContentSource, VolumeContentSourceInit } from './generated/csi/v1/VolumeContentSource.ts';
import { invalidField, snapshotId, volumeId } from './validate.ts';

/** @throws StorageError 'invalid-argument' where it names neither a snapshot nor a volume */
export function readContentSource(field: string, wire: VolumeContentSource): ContentSource {
  if (wire.snapshot !== undefined) {
    const id = snapshotId(wire.snapshot.snapshotId, `${field}.snapshot.snapshot_id`);
    return { kind: 'snapshot', snapshotId: id };
  }
  if (wire.volume !== undefined) {
    return { kind: 'volume', volumeId: volumeId(wire.volume.volumeId, `${field}.volume.volume_id`) };
  }
  throw invalidField(field, 'says neither snapshot nor volume');
}

/** A driver's echo, taken as it is: it says what is in the volume, or nothing. */
export function readEcho(wire: VolumeContentSource | undefined): ContentSource | undefined {
  if (wire?.snapshot !== undefined) return { kind: 'snapshot', snapshotId: wire.snapshot.snapshotId ?? '' };
  if (wire?.volume !== undefined) return { kind: 'volume', volumeId: wire.volume.volumeId ?? '' };
  return undefined;
}

export function writeContentSource(source: ContentSource): VolumeContentSourceInit {
  return source.kind === 'snapshot'
    ? { snapshot: { snapshotId: source.snapshotId } }
    : { volume: { volumeId: source.volumeId } };
}

export function writeSnapshot(snapshot: DriverSnapshot): SnapshotInit {
  const { snapshotId, sourceVolumeId, sizeBytes, createdAtMs, isReady } = snapshot;
  const seconds = Math.floor(createdAtMs / 1000);
  const nanos = Math.round((createdAtMs - seconds * 1000) * 1e6);
  return {
    snapshotId,
    sourceVolumeId,
    sizeBytes: sizeBytes.toString(),
    creationTime: { seconds, nanos },
    readyToUse: isReady,
  };
}

/** @throws Error for an answer without a snapshot: what such a driver did is unknown */
export function readSnapshot(wire: Snapshot | undefined): DriverSnapshot {
  if (wire?.snapshotId === undefined || wire.snapshotId === '')
    throw new Error('the driver answered OK without a snapshot id');
  return {
    snapshotId: wire.snapshotId,
    sourceVolumeId: wire.sourceVolumeId ?? '',
    sizeBytes: BigInt(wire.sizeBytes ?? 0),
    createdAtMs: readTime(wire.creationTime),
    isReady: wire.readyToUse ?? false,
  };
}

/** Milliseconds since the epoch; 0 where the driver does not tell. */
function readTime(wire: Timestamp | undefined): number {
  return Number(wire?.seconds ?? 0) * 1000 + Math.floor((wire?.nanos ?? 0) / 1e6);
}
