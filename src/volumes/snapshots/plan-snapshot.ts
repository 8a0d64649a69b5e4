import type { Backend, CopySource } from '../../backends/backend.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import { findSourceVolume } from '../copies/find-source.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { measure, readDisk, type DiskReading } from '../space/measure-space.ts';
import { roomFor, shortage } from '../place-volume.ts';
import type { WantedSnapshot } from './read-snapshot-request.ts';
import type { SnapshotRecord } from '../records/snapshot-record.ts';
import { usersOfVolume } from '../published/users-of-volume.ts';
import { backendOf, type VolumeEnvironment } from '../volume-environment.ts';

/** A backend that can make snapshots. */
export type CapturingBackend = Backend & { readonly capture: NonNullable<Backend['capture']> };

/** What a snapshot is made of, and what that takes. */
export interface SnapshotPlan extends LocatedVolume {
  readonly backend: CapturingBackend;
  readonly source: CopySource;
  /** whether the copy shares its source's blocks, and takes no time to speak of */
  readonly isInstant: boolean;
  readonly writtenBytes: bigint;
  /** of these, what the pool has to keep that it would not keep without */
  readonly addedBytes: bigint;
  /** read last */
  readonly disk: DiskReading;
}

/**
 * Looks at the source, whose lock is the caller's to hold.
 *
 * @throws StorageError 'source-not-found' | 'busy' | 'in-use' while it is being emptied | 'unsupported-capability' | 'pool-unavailable' | 'data-loss'
 */
export async function planSnapshot(
  environment: VolumeEnvironment,
  wanted: WantedSnapshot,
  call: CallContext,
): Promise<SnapshotPlan> {
  const located = await findSourceVolume(environment, wanted.sourceVolumeId);
  const { pool, record } = located;
  const { spec } = record;
  const backend = backendOf(environment, spec.backend);
  if (!canCapture(backend)) {
    throw new StorageError(
      'unsupported-capability',
      `snapshot ${wanted.name}: backend ${backend.name} of volume ${spec.id} makes no snapshots; use another backend`,
    );
  }
  const place = pool.place(spec.id);
  const isLive = (await usersOfVolume(environment, located, call)).length > 0;
  const source: CopySource = { place, spec, isLive };
  const isInstant = (await backend.sharesBlocks?.(source)) ?? false;
  const knownBytes = await backend.writtenBytes?.(place, spec);
  const knownOwnBytes = await backend.ownBytes?.(place, spec);
  const disk = await readDisk(pool);
  // who cannot tell has written no more than lies on the disk
  const writtenBytes = knownBytes ?? least(spec.sizeBytes, disk.totalBytes - disk.availableBytes);
  const ownBytes = knownOwnBytes ?? writtenBytes - pool.records.sharedBytes(spec.id);
  const addedBytes = isInstant && ownBytes < writtenBytes ? (ownBytes > 0n ? ownBytes : 0n) : writtenBytes;
  return { ...located, backend, source, isInstant, writtenBytes, addedBytes, disk };
}

function canCapture(backend: Backend): backend is CapturingBackend {
  return backend.capture !== undefined;
}

function least(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

/**
 * Counts the snapshot, and what its source may take again now that its blocks are shared. In memory, at once.
 *
 * @returns the intent, and how to take the count back
 * @throws StorageError 'out-of-space'
 */
export function reserveSnapshot(
  { pools, clock, spaceChanged }: Pick<VolumeEnvironment, 'pools' | 'clock' | 'spaceChanged'>,
  wanted: WantedSnapshot,
  plan: SnapshotPlan,
): { readonly intent: SnapshotRecord; readonly giveBack: () => void } {
  const { pool, record, isInstant, writtenBytes, addedBytes } = plan;
  const { spec, onDelete, scrub, claim, clusterUid } = record;
  const space = measure(pool, plan.disk, pools.open());
  const room = roomFor(spec.provisioning, spec.backend, space);
  if (addedBytes > room.nowBytes) {
    throw new StorageError(
      'out-of-space',
      `snapshot ${wanted.name} of volume ${spec.id} keeps up to ${formatBytes(addedBytes)}, ` +
        `${shortage(pool, room, space.facts)}; delete snapshots or volumes, or add space`,
    );
  }
  const intent: SnapshotRecord = {
    schema: 1,
    id: wanted.id,
    name: wanted.name,
    state: 'creating',
    sourceVolumeId: spec.id,
    spec,
    parameters: wanted.parameters,
    // a snapshot of a volume that will be archived is no second archive
    onDelete: onDelete === 'archive' ? 'delete' : onDelete,
    scrub,
    ...(claim === undefined ? {} : { claim }),
    ...(clusterUid === undefined ? {} : { clusterUid }),
    createdAtMs: clock.nowMs(),
    writtenBytes,
    addedBytes,
  };
  pool.snapshotRecords.put(intent);
  const sharedBefore = pool.records.sharedBytes(spec.id);
  if (isInstant) pool.records.noteShared(spec.id, writtenBytes);
  const notes = pool.records.sharingNotes;
  spaceChanged.tell();
  const giveBack = (): void => {
    pool.snapshotRecords.forget(wanted.id);
    // what was noted since may be of a clone that has the same blocks: then it counts until it is measured
    if (isInstant && pool.records.sharingNotes === notes) pool.records.noteShared(spec.id, sharedBefore);
    spaceChanged.tell();
  };
  return { intent, giveBack };
}
