import { isAtOrBelow, type Location, type Mount } from '../../host/mountinfo.ts';
import type { Stray } from '../../model/disk-inventory.ts';

/** A pool as its mounts and devices are looked for. */
export interface SearchedPool {
  readonly name: string;
  readonly uuid: string;
  /** of its volumes' folder, links resolved */
  readonly volumesPath: string;
  /** where that folder lies on its file system; unset: not known */
  readonly place: Location | undefined;
  /** whether there is a record of this id, sound or not */
  readonly knows: (id: string) => boolean;
}

/** What the kernel, and our own notes, say is in use. */
export interface Seen {
  readonly devices: readonly {
    readonly path: string;
    readonly device: string;
    readonly backingFile: string;
  }[];
  readonly mounts: readonly Mount[];
  readonly publications: readonly {
    readonly volumeId: string;
    readonly poolUuid: string;
    readonly path: string;
  }[];
}

/**
 * What holds on to volumes that no record knows. Recovery lets go of devices whose volume has a record and no user; what is told of
 * here nobody may touch without a person's look, since nothing says whose it is.
 */
export function findStrays(pools: readonly SearchedPool[], seen: Seen): readonly Stray[] {
  return pools.flatMap((pool) => {
    const devices = seen.devices.flatMap((device) => {
      const volumeId = firstBelow(device.backingFile, pool.volumesPath);
      return volumeId === undefined || pool.knows(volumeId) ? [] : { ...device, volumeId };
    });
    const ofDevices = devices.map(({ path, volumeId, backingFile }): Stray => ({
      kind: 'loop device',
      path,
      volumeId,
      poolName: pool.name,
      why: `attached to ${backingFile}, of which there is no record; if nobody needs it: losetup --detach ${path}`,
    }));
    const ofMounts = seen.mounts.flatMap((mount): Stray[] => {
      const volumeId =
        devices.find(({ device }) => device === mount.device)?.volumeId ?? volumeMountedBy(mount, pool);
      if (volumeId === undefined) return [];
      const why = `shows volume ${volumeId}, of which there is no record; if no pod needs it: umount ${mount.mountPoint}`;
      return [{ kind: 'mount', path: mount.mountPoint, volumeId, poolName: pool.name, why }];
    });
    const ofNotes = seen.publications
      .filter(({ poolUuid, volumeId }) => poolUuid === pool.uuid && !pool.knows(volumeId))
      .filter(({ path }) => !ofMounts.some((mount) => mount.path === path))
      .map(({ path, volumeId }): Stray => ({
        kind: 'publication',
        path,
        volumeId,
        poolName: pool.name,
        why: `noted as in use by volume ${volumeId}, of which there is no record; it goes when kubelet unpublishes it`,
      }));
    return [...ofDevices, ...ofMounts, ...ofNotes];
  });
}

function volumeMountedBy(mount: Mount, { place, knows }: SearchedPool): string | undefined {
  if (place === undefined || mount.device !== place.device) return undefined;
  const volumeId = firstBelow(mount.root, place.root);
  return volumeId === undefined || knows(volumeId) ? undefined : volumeId;
}

/** The component after the folder; undefined for the folder itself and for what is elsewhere. */
function firstBelow(path: string, folder: string): string | undefined {
  if (path === folder || !isAtOrBelow(path, folder)) return undefined;
  const [first = ''] = path.slice(folder === '/' ? 1 : folder.length + 1).split('/');
  return first === '' ? undefined : first;
}
