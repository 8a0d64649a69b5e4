import type { CallContext, CreateSnapshotRequest, DriverSnapshot } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** CSI CreateSnapshot. */
export async function createSnapshot(
  _environment: VolumeEnvironment,
  { name }: CreateSnapshotRequest,
  _call: CallContext,
): Promise<DriverSnapshot> {
  throw new StorageError('unimplemented', `snapshot ${name} cannot be made yet`);
}
