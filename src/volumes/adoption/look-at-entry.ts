import { whyNoDisk } from '../../backends/disk/why-no-disk.ts';
import type { Directory } from '../../host/directory.ts';
import { errorCode } from '../../host/descriptor.ts';
import { openMounted, type MountedEntry } from '../../host/mounted-disk.ts';
import { mountIdOf } from '../../host/descriptor.ts';
import { readMounts } from '../../host/mountinfo.ts';
import { markerName } from '../pools/pool-marker.ts';
import type { Pool } from '../pools/pool.ts';
import {
  decideDisk,
  type DiskDecision,
  type ForgottenDisk,
  type FoundDisk,
  type KnownDisk,
} from './decide-disk.ts';

/** What is decided of one entry goes by all of these. */
export interface DiskSurvey {
  readonly pool: Pick<Pool, 'uuid' | 'root'>;
  readonly folder: Directory;
  readonly known: readonly KnownDisk[];
  readonly forgotten: readonly ForgottenDisk[];
  readonly unknown: string | undefined;
  /** the entries that were looked at before, by their disk */
  readonly seen: Map<string, string>;
}

/** Looks at one entry of a discovery folder, and opens what is mounted there for as long as `act` takes. */
export async function lookAtEntry<T>(
  survey: DiskSurvey,
  entry: string,
  act: (decision: DiskDecision, mounted: MountedEntry | undefined) => Promise<T>,
): Promise<T> {
  const { folder, pool, known, forgotten, unknown, seen } = survey;
  const mounted = await openMounted(folder, entry).catch((error: unknown) => {
    // gone meanwhile, or no directory any more
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  });
  try {
    const path = folder.pathOf(entry);
    const key = `${mounted?.mount.fsType} ${mounted?.uuid}`;
    const found = mounted && (await foundOf(mounted, pool));
    const isPool = mounted !== undefined && (await mounted.root.exists(markerName));
    const facts = { path, poolUuid: pool.uuid, entry, found, known, forgotten, unknown, isPool };
    const decision = decideDisk({ ...facts, earlier: seen.get(key) });
    if (mounted?.uuid !== undefined && !seen.has(key)) seen.set(key, path);
    return await act(decision, mounted);
  } finally {
    await mounted?.root.close();
  }
}

async function foundOf(mounted: MountedEntry, pool: Pick<Pool, 'root'>): Promise<FoundDisk> {
  const { mount, uuid } = mounted;
  const id = mountIdOf(pool.root.fd);
  const ofPool = (await readMounts()).find((each) => each.id === id);
  const why =
    ofPool?.device === mount.device
      ? "it is the pool's own file system, mounted in itself; unmount it"
      : whyNoDisk(mounted);
  return {
    type: mount.fsType,
    ...(uuid === undefined ? {} : { uuid }),
    ...(why === undefined ? {} : { why }),
  };
}
