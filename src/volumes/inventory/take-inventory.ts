import { discoveryName } from '../../backends/backend.ts';
import { attachedDevices, isDeleted, type LoopDevice } from '../../host/loop-devices.ts';
import { isAtOrBelow, locate, readMounts } from '../../host/mountinfo.ts';
import { identityAt } from '../../host/path-facts.ts';
import type {
  BrokenEntry,
  DiskInventory,
  DoomedEntry,
  ForgottenEntry,
  Litter,
  Stray,
} from '../../model/disk-inventory.ts';
import { messageOf } from '../../model/errors.ts';
import type { DiskPlace } from '../../model/volume.ts';
import type { Pool } from '../pools/pool.ts';
import { whyStuck } from '../trash/why-stuck.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import { findStrays } from './find-strays.ts';

/** Of what strangers have put into one trash; of more there is only the number. */
const mostLitter = 50;

/** What the pools that are open hold besides sound volumes. Looks only; changes nothing. */
export function inventoryOf({
  pools,
  publications,
}: Pick<VolumeEnvironment, 'pools' | 'publications'>): DiskInventory {
  return {
    doomed: () => pools.open().flatMap(doomedIn),
    broken: () => pools.open().flatMap(brokenIn),
    litter: async () => (await Promise.all(pools.open().map(litterIn))).flat(),
    forgotten: () => pools.open().flatMap(forgottenIn),
    uses: async () => {
      const byVolume = Map.groupBy(await publications.live(), ({ volumeId }) => volumeId);
      return new Map([...byVolume].map(([id, live]) => [id, live.map(({ path }) => path)]));
    },
    strays: async (): Promise<readonly Stray[]> => {
      const mounts = await readMounts();
      const searched = pools.open().map(({ name, uuid, volumes, records }) => ({
        name,
        uuid,
        volumesPath: volumes.realPath,
        place: locate(mounts, volumes.realPath),
        knows: (id: string) => records.get(id) !== undefined || records.broken(id) !== undefined,
      }));
      const live = await publications.live();
      const devices = await devicesBelow(searched.map(({ volumesPath }) => volumesPath));
      return findStrays(searched, { devices, mounts, publications: live });
    },
  };
}

function doomedIn(pool: Pool): readonly DoomedEntry[] {
  return pool.trash.entries().map((entry) => {
    const { id, method, sinceMs, promisedBytes, failure } = entry;
    const stuck = whyStuck(entry, (disk) => mountPointIn(pool, disk));
    return {
      id,
      poolName: pool.name,
      method,
      sinceMs,
      sizeBytes: promisedBytes,
      ...(failure === undefined ? {} : { failure: failure.message }),
      ...(stuck === undefined ? {} : { stuck }),
    };
  });
}

function brokenIn({
  name: poolName,
  records,
  snapshotRecords,
  forgottenDisks,
}: Pool): readonly BrokenEntry[] {
  const entries = [...records.allBroken(), ...snapshotRecords.allBroken()].map(([id, { message }]) => ({
    id,
    poolName,
    why: message,
  }));
  const notes = [...forgottenDisks.unreadable].map(([id, why]) => ({
    id,
    poolName,
    why,
    isNote: true,
  }));
  return [...entries, ...notes];
}

async function litterIn({ name: poolName, root, trash }: Pool): Promise<readonly Litter[]> {
  const path = `${root.realPath}/trash`;
  try {
    const names = (await trash.unknownNames()).toSorted();
    const told = names.slice(0, names.length > mostLitter ? mostLitter - 1 : mostLitter);
    const rest = names.length - told.length;
    return [
      ...told.map((name) => ({ name, poolName, why: `Loam did not put ${path}/${name} there` })),
      ...(rest === 0 ? [] : [{ name: 'trash', poolName, why: `Loam did not put ${rest} more into ${path}` }]),
    ];
  } catch (error) {
    return [{ name: 'trash', isTrash: true, poolName, why: `${path} cannot be read: ${messageOf(error)}` }];
  }
}

function forgottenIn(pool: Pool): readonly ForgottenEntry[] {
  return pool.forgottenDisks.all().map(({ spec, disk, claim, path, sinceMs }) => ({
    volumeId: spec.id,
    poolName: pool.name,
    sizeBytes: spec.sizeBytes,
    ...(claim === undefined ? {} : { claim }),
    type: disk.type,
    uuid: disk.uuid,
    mountPoint: mountPointIn(pool, disk),
    path,
    ...(sinceMs === undefined ? {} : { sinceMs }),
  }));
}

function mountPointIn({ root }: Pool, { entry }: DiskPlace): string {
  return `${root.realPath}/${discoveryName}/${entry}`;
}

/** Nodes that are containers of one machine (kind) share its loop devices, and have their pools at the same path. */
async function devicesBelow(folders: readonly string[]): Promise<readonly LoopDevice[]> {
  const found: LoopDevice[] = [];
  for (const device of attachedDevices()) {
    // the files of other programs may lie on disks that do not answer
    if (!folders.some((folder) => isAtOrBelow(device.backingFile, folder))) continue;
    if (isDeleted(device) || (await mayBeAt(device.backingFile))) found.push(device);
  }
  return found;
}

/** A disk that fails says of no file that it is not there. */
async function mayBeAt(path: string): Promise<boolean> {
  try {
    return (await identityAt(path)) !== undefined;
  } catch {
    return true;
  }
}
