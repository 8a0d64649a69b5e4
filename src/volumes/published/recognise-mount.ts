import { identityOfMount } from '../../host/file-system-identity.ts';
import type { Mount } from '../../host/mountinfo.ts';
import { isReason, StorageError } from '../../model/errors.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import type { DiskPlace } from '../../model/volume.ts';
import type { Pools } from '../pools/open-pools.ts';

/**
 * Whether a mount can be one that Loam made for this volume, where nothing else is remembered of it: after a reboot
 * in the middle, a lost run folder, or a delete that came first. Anything else at the path is somebody else's.
 */
function canBeOurs(mount: Mount, volumeId: string): boolean {
  if (/^\/dev\/loop\d+$/.test(mount.source)) return true;
  if (mount.fsType === 'devtmpfs' || mount.fsType === 'tmpfs') return /^\/loop\d+$/.test(mount.root);
  // a directory of a pool, where the pool may be any folder of its file system, and the volume in the trash already
  const root = mount.root.replace(/\/\/deleted$/, '').split('/');
  const [room, folder, data] = root.slice(-3);
  if (data !== 'data' || folder === undefined) return false;
  return room === 'volumes' ? folder === volumeId : room === 'trash' && folder.startsWith(`${volumeId}.`);
}

/** The same, of a disk too: that mount names no volume, so that the record says which disk it is. */
export async function isOurs(mount: Mount, volumeId: string, disk: DiskPlace | undefined): Promise<boolean> {
  if (canBeOurs(mount, volumeId)) return true;
  if (disk === undefined || mount.root !== '/' || mount.fsType !== disk.type) return false;
  return (await identityOfMount(mount)).uuid === disk.uuid;
}

/** The disk that a volume is; undefined also where its record cannot be found: a pod has to end all the same. */
export function diskOf(pools: Pick<Pools, 'locate'>, volumeId: string): DiskPlace | undefined {
  try {
    return pools.locate(volumeId)?.record.spec.disk;
  } catch (error) {
    if (isReason(error, 'data-loss', 'wrong-pool')) return undefined;
    throw error;
  }
}

/** @throws StorageError 'bad-target' for a mount that we do not remember making and that cannot be this volume's */
export async function refuseForeign(
  mount: Mount,
  volumeId: string,
  path: string,
  disk: DiskPlace | undefined,
): Promise<void> {
  if (isVolumeId(volumeId) && (await isOurs(mount, volumeId, disk))) return;
  throw new StorageError(
    'bad-target',
    `${path} has ${mount.source} mounted, which is not volume ${volumeId}; unmount it first`,
  );
}
