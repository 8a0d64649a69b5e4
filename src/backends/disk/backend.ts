import { descriptorPath } from '../../host/descriptor.ts';
import { touchFile } from '../../host/entries.ts';
import { Directory } from '../../host/directory.ts';
import { fileSystemIdentity } from '../../host/file-system-identity.ts';
import { fileSystemUsage } from '../../host/file-system-usage.ts';
import { checkMountFlags } from '../../host/mount-flags.ts';
import { mountAt, readMounts } from '../../host/mountinfo.ts';
import type { MountedEntry } from '../../host/mounted-disk.ts';
import { canonicalTarget, ensureUnmounted } from '../../host/mounts.ts';
import { ensureTargetDirectory, removeTarget } from '../../host/targets.ts';
import { whileOpen } from '../../host/while-open.ts';
import type { CallContext, VolumeCondition } from '../../model/csi-driver.ts';
import { isReason, messageOf, StorageError } from '../../model/errors.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import {
  diskMarkName,
  type Backend,
  type BackendFeatures,
  type BackendProbe,
  type DestroyWish,
  type Grown,
  type MountIntent,
  type VolumePlace,
} from '../backend.ts';
import { BoundVolume } from '../bound-volume.ts';
import { fileSystemEntries } from '../file-system-entries.ts';
import { publishDirectory } from '../publish-directory.ts';
import { mountPointOf, withDisk } from './open-disk.ts';
import { usersOfDisk } from './users-of-disk.ts';
import { isBlank, wipeDisk } from './wipe-disk.ts';

/**
 * A volume is all of a disk that somebody has mounted in the discovery folder of a pool; its directory in the pool has the record only.
 * Such volumes are found and never made. The disk is mounted and unmounted by whoever runs the node, never here.
 */
export class DiskBackend extends BoundVolume implements Backend {
  readonly name = 'disk';
  readonly features: BackendFeatures = { fsTypes: [], block: false, thick: false, stagesNothing: true };

  async probe(): Promise<BackendProbe> {
    return { usable: false, detail: 'disks are mounted in the discovery folder, never made or copied' };
  }

  /** Of a volume that was emptied for its next claim: the mark says again that what is on the disk is the volume's. */
  async create(place: VolumePlace, spec: VolumeSpec): Promise<void> {
    await withDisk(place, spec, async (disk) => {
      if (!(await isBlank(disk)))
        throw new StorageError(
          'in-use',
          `${disk.root.realPath} has files again after it was emptied; find who writes there, and empty it`,
        );
      await whileOpen(Directory.open(place.path), (directory) => touchFile(directory, diskMarkName));
    });
  }

  /**
   * Only looks: kubelet never unstages what is mounted at a second place with the same root, and a disk is, where it was found.
   */
  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void> {
    await withDisk(place, spec, async () => {
      const options = this.bindOptions(call);
      checkMountFlags(intent.mountFlags, options.fsType);
      await ensureTargetDirectory(intent.path, options);
    });
  }

  async publish(
    place: VolumePlace,
    spec: VolumeSpec,
    _stagingPath: string,
    target: MountIntent,
    call: CallContext,
  ): Promise<void> {
    await withDisk(place, spec, async (disk) => {
      await publishDirectory(disk.root.realPath, target, this.bindOptions(call));
      // by its path the bind could have found what was mounted over the disk meanwhile
      if (await shows(disk, target.path)) return;
      await ensureUnmounted(target.path, call.signal);
      await removeTarget(target.path);
      throw new StorageError(
        'busy',
        `${disk.root.realPath} was replaced while it was published; repeat the call`,
      );
    });
  }

  /** Of one that is not there nothing is known, and `requireData` says so. */
  async users(place: VolumePlace, spec: VolumeSpec): Promise<readonly string[]> {
    const { disk } = spec;
    if (disk === undefined) return [];
    try {
      return await withDisk(place, spec, (found) => usersOfDisk(found, disk));
    } catch (error) {
      if (isReason(error, 'pool-unavailable')) return [];
      throw error;
    }
  }

  async requireData(place: VolumePlace, spec: VolumeSpec): Promise<void> {
    await withDisk(place, spec, async () => {});
  }

  async destroyElsewhere(place: VolumePlace, spec: VolumeSpec, wish: DestroyWish): Promise<void> {
    const { disk, id } = spec;
    await withDisk(place, spec, async (found) => {
      // asked before the deletion, which may have been days ago
      const users = await usersOfDisk(found, { entry: disk?.entry ?? '' });
      if (users.length > 0)
        throw new StorageError(
          'in-use',
          `the disk of the deleted volume ${id} is in use: ${users.slice(0, 5).join(', ')}; unmount it there, and it is emptied`,
        );
      await wipeDisk(found, wish);
    });
  }

  /** @throws StorageError 'path-not-found' where another file system is mounted at the path */
  async usage(
    _place: VolumePlace,
    { id, disk }: VolumeSpec,
    volumePath: string,
  ): Promise<readonly UsageEntry[]> {
    const entries = await fileSystemEntries(volumePath);
    const found = await whileOpen(Directory.open(volumePath), fileSystemIdentity);
    if (disk !== undefined && found?.uuid === disk.uuid) return entries;
    throw new StorageError(
      'path-not-found',
      `what is mounted at ${volumePath} is not the disk of volume ${id}`,
    );
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    try {
      await this.requireData(place, spec);
      return { abnormal: false, message: 'the disk is mounted' };
    } catch (error) {
      return { abnormal: true, message: messageOf(error) };
    }
  }

  /** A disk has the size that it has: it grows by whoever runs the node, and the volume follows. */
  async grow(place: VolumePlace, spec: VolumeSpec): Promise<Grown> {
    const { disk, id, sizeBytes } = spec;
    const totalBytes = await withDisk(place, spec, ({ root }) => sizeOfDisk(root));
    if (disk === undefined || sizeBytes <= totalBytes) return { isMountBehind: false };
    throw new StorageError(
      'size-out-of-range',
      `volume ${id} is the disk at ${mountPointOf(place, disk)}, whose file system has ${formatBytes(totalBytes)}, ` +
        `and ${formatBytes(sizeBytes)} are asked; grow the disk and its file system, and ask again`,
    );
  }
}

/** All that its file system has, its own tables not counted. */
export async function sizeOfDisk(root: Directory): Promise<bigint> {
  return (await fileSystemUsage(descriptorPath(root.fd))).totalBytes;
}

/** Whether what is mounted at a path is this disk, whole. */
async function shows({ mount }: MountedEntry, path: string): Promise<boolean> {
  const target = await canonicalTarget(path).catch(() => path);
  const found = mountAt(await readMounts(), target);
  return found !== undefined && found.device === mount.device && found.root === '/';
}
