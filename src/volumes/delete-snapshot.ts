import type { CallContext } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** CSI DeleteSnapshot. */
export async function deleteSnapshot(
  _environment: VolumeEnvironment,
  snapshotId: string,
  _call: CallContext,
): Promise<void> {
  throw new StorageError('unimplemented', `snapshot ${snapshotId} cannot be deleted yet`);
}
