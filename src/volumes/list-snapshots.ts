import type { DriverSnapshot, ListSnapshotsRequest, SnapshotPage } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** CSI ListSnapshots. */
export async function listSnapshots(
  _environment: VolumeEnvironment,
  _request: ListSnapshotsRequest,
): Promise<SnapshotPage> {
  return { entries: [], nextToken: '' };
}

/** CSI GetSnapshot. @throws StorageError 'snapshot-not-found' */
export async function getSnapshot(
  _environment: VolumeEnvironment,
  snapshotId: string,
): Promise<DriverSnapshot> {
  throw new StorageError('snapshot-not-found', `snapshot ${snapshotId} is not on this node`);
}
