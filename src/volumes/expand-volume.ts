import type { CallContext, ExpandedVolume, ExpandVolumeRequest } from '../model/csi-driver.ts';
import type { NodeExpandRequest } from '../model/node-driver.ts';
import { StorageError } from '../model/errors.ts';
import type { VolumeEnvironment } from './volume-environment.ts';

/** CSI ControllerExpandVolume. */
export async function expandVolume(
  _environment: VolumeEnvironment,
  { volumeId }: ExpandVolumeRequest,
  _call: CallContext,
): Promise<ExpandedVolume> {
  throw new StorageError('unimplemented', `volume ${volumeId} cannot grow yet`);
}

/** CSI NodeExpandVolume. */
export async function expandMounted(
  _environment: VolumeEnvironment,
  { volumeId }: NodeExpandRequest,
  _call: CallContext,
): Promise<bigint> {
  throw new StorageError('unimplemented', `volume ${volumeId} cannot grow yet`);
}
