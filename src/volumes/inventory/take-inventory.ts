import { attachedDevices, isDeleted, type LoopDevice } from '../../host/loop-devices.ts';
import { locate, readMounts } from '../../host/mountinfo.ts';
import { identityAt } from '../../host/path-facts.ts';
import type { BrokenEntry, DiskInventory, DoomedEntry, Stray } from '../../model/disk-inventory.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import { findStrays } from './find-strays.ts';

/** What the pools that are open hold besides sound volumes. Looks only; changes nothing. */
export function inventoryOf({
  pools,
  publications,
}: Pick<VolumeEnvironment, 'pools' | 'publications'>): DiskInventory {
  return {
    doomed: () =>
      pools.open().flatMap(({ name: poolName, trash }) =>
        trash.entries().map(({ id, method, sinceMs, promisedBytes, failure }): DoomedEntry => ({
          id,
          poolName,
          method,
          sinceMs,
          sizeBytes: promisedBytes,
          ...(failure === undefined ? {} : { failure: failure.message }),
        })),
      ),
    broken: () =>
      pools.open().flatMap(({ name: poolName, records, snapshotRecords }): BrokenEntry[] =>
        [...records.allBroken(), ...snapshotRecords.allBroken()].map(([id, error]) => ({
          id,
          poolName,
          why: error.message,
        })),
      ),
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
      return findStrays(searched, { devices: await devicesHere(), mounts, publications: live });
    },
  };
}

/** Nodes that are containers of one machine (kind) share its loop devices, and have their pools at the same path. */
async function devicesHere(): Promise<readonly LoopDevice[]> {
  const found: LoopDevice[] = [];
  for (const device of attachedDevices()) {
    if (isDeleted(device) || (await identityAt(device.backingFile)) !== undefined) found.push(device);
  }
  return found;
}
