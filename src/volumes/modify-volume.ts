import type { CallContext, ModifyVolumeRequest } from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** CSI ControllerModifyVolume. */
export async function modifyVolume(
  _environment: VolumeEnvironment,
  { volumeId }: ModifyVolumeRequest,
  _call: CallContext,
): Promise<void> {
  throw new StorageError('unimplemented', `volume ${volumeId} cannot be modified yet`);
}
