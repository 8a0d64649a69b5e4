import type { Mount } from '../../host/mountinfo.ts';
import { StorageError } from '../../model/errors.ts';
import { isVolumeId } from '../../model/volume-id.ts';

/**
 * Whether a mount can be one that Loam made for this volume, where nothing else is remembered of it: after a reboot
 * in the middle, a lost run folder, or a delete that came first. Anything else at the path is somebody else's.
 */
export function canBeOurs(mount: Mount, volumeId: string): boolean {
  if (/^\/dev\/loop\d+$/.test(mount.source)) return true;
  if (mount.fsType === 'devtmpfs' || mount.fsType === 'tmpfs') return /^\/loop\d+$/.test(mount.root);
  // a directory of a pool, where the pool may be any folder of its file system, and the volume in the trash already
  const root = mount.root.replace(/\/\/deleted$/, '').split('/');
  const [room, folder, data] = root.slice(-3);
  if (data !== 'data' || folder === undefined) return false;
  return room === 'volumes' ? folder === volumeId : room === 'trash' && folder.startsWith(`${volumeId}.`);
}

/** @throws StorageError 'bad-target' for a mount that we do not remember making and that cannot be this volume's */
export function refuseForeign(mount: Mount, volumeId: string, path: string): void {
  if (isVolumeId(volumeId) && canBeOurs(mount, volumeId)) return;
  throw new StorageError(
    'bad-target',
    `${path} has ${mount.source} mounted, which is not volume ${volumeId}; it is left alone`,
  );
}
