import { dirname } from 'node:path';
import { errorCode } from '../../host/descriptor.ts';
import { Directory } from '../../host/directory.ts';
import { openMounted, type MountedEntry } from '../../host/mounted-disk.ts';
import { whileOpen } from '../../host/while-open.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { DiskPlace, VolumeSpec } from '../../model/volume.ts';
import { discoveryName, type VolumePlace } from '../backend.ts';
import { describeMounted, whyNoDisk } from './why-no-disk.ts';

/**
 * Works with the disk of a volume, its root held open. Asked before every use: only the very file system that the record names, whole
 * and mounted where the record says, is ever taken for it.
 *
 * @param place of the record: in the pool's `volumes`, or in its trash
 * @throws StorageError 'pool-unavailable' saying which disk is missing, where, and what to do
 */
export async function withDisk<T>(
  place: VolumePlace,
  spec: VolumeSpec,
  act: (disk: MountedEntry) => Promise<T>,
): Promise<T> {
  const { disk } = spec;
  if (disk === undefined) {
    throw new StorageError('data-loss', `the record of volume ${spec.id} names no disk; restore it`);
  }
  const found = await open(place, disk).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errorCode(error) ?? '')) return undefined;
    throw missing(place, spec.id, disk, `it cannot be opened (${messageOf(error)})`);
  });
  if (found === undefined) throw missing(place, spec.id, disk, 'nothing is mounted there');
  try {
    const why = whyAnother(disk, found);
    if (why !== undefined) throw missing(place, spec.id, disk, why);
    return await act(found);
  } finally {
    await found.root.close();
  }
}

async function open(place: VolumePlace, { entry }: DiskPlace): Promise<MountedEntry | undefined> {
  return whileOpen(Directory.open(poolOf(place)), (pool) =>
    whileOpen(pool.openChild(discoveryName), (folder) => openMounted(folder, entry)),
  );
}

/** `<pool>/volumes/<id>`, `<pool>/trash/<entry>` */
function poolOf({ path }: VolumePlace): string {
  return dirname(dirname(path));
}

/** Pure: why what is mounted is not this disk; undefined: it is. */
function whyAnother(disk: DiskPlace, found: Pick<MountedEntry, 'mount' | 'uuid'>): string | undefined {
  const { fsType } = found.mount;
  if (fsType !== disk.type || found.uuid !== disk.uuid)
    return `${describeMounted(found)} is mounted there, another one`;
  return whyNoDisk(found);
}

/** Where the disk of a volume is to be mounted, for people. */
export function mountPointOf(place: VolumePlace, { entry }: DiskPlace): string {
  return `${poolOf(place)}/${discoveryName}/${entry}`;
}

function missing(place: VolumePlace, volumeId: string, disk: DiskPlace, why: string): StorageError {
  return new StorageError(
    'pool-unavailable',
    `the disk of volume ${volumeId}, the ${disk.type} ${disk.uuid}, cannot be used at ${mountPointOf(place, disk)}: ${why}; ` +
      `mount it there again, and the volume works again; if it is gone for good, loam gc --forget ${volumeId} gives it up`,
    { facts: { volume: volumeId } },
  );
}
