import { randomBytes } from 'node:crypto';
import { diskMarkName, discoveryName } from '../../backends/backend.ts';
import { sizeOfDisk } from '../../backends/disk/backend.ts';
import { usersOfDisk } from '../../backends/disk/users-of-disk.ts';
import type { Directory } from '../../host/directory.ts';
import { removeIfEmpty, touchFile } from '../../host/entries.ts';
import type { MountedEntry } from '../../host/mounted-disk.ts';
import { whileOpen } from '../../host/while-open.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { AdoptedVolume } from '../../model/volume-ledger.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import type { DiskPlace, VolumeSpec } from '../../model/volume.ts';
import { refuseArchive } from '../archive/archive-volume.ts';
import type { Pool } from '../pools/pool.ts';
import { usedName } from '../records/record-store.ts';
import { floorToBlock } from '../space/capacity.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { own, type NewOwner } from './adopt-volume.ts';
import { plainId, recordOf, requireId, type AdoptPathOptions } from './adopted-record.ts';
import { settleAdoption } from './adopting-folder.ts';
import type { Source } from './find-adoptable.ts';
import { disksLock, forgottenDisks, knownDisks, whyNotAllKnown } from './known-disks.ts';
import { lookAtEntry, type DiskSurvey } from './look-at-entry.ts';
import { adoptingName } from './own-folders.ts';

/** Whether a path is an entry of a discovery folder that a disk is mounted at, or ought to be. */
export async function isOfDisk(
  environment: VolumeEnvironment,
  source: Source,
  options: AdoptPathOptions,
): Promise<boolean> {
  const { pool, parts, name } = source;
  if (parts.length !== 2 || parts[0] !== discoveryName || !(await pool.root.exists(discoveryName)))
    return false;
  return withSurvey(environment, pool, options, (survey) =>
    lookAtEntry(survey, name, async ({ kind }) => kind !== 'folder'),
  );
}

/**
 * Makes a volume of a disk that is mounted in a discovery folder. Nothing on the disk is touched: the pool gets a record that says which
 * disk it is and where it is mounted. Its size is the file system's. One that was forgotten is taken by hand only, and is no longer then.
 *
 * Killed anywhere there is a volume of the disk or none; a repeat answers with the same one.
 * @throws StorageError 'invalid-argument' | 'invalid-parameter' | 'in-use' | 'already-exists-different' | 'busy' | 'pool-unavailable'
 */
export async function adoptDisk(
  environment: VolumeEnvironment,
  { pool, name }: Source,
  options: AdoptPathOptions,
  call: CallContext,
): Promise<AdoptedVolume> {
  const { owner = {} } = options;
  return environment.locks.runInTurn(disksLock, 'its adoption', call.signal, async () => {
    await settleLeft(pool);
    return withSurvey(environment, pool, options, (survey) =>
      lookAtEntry(survey, name, async (decision, mounted) => {
        const path = survey.folder.pathOf(name);
        if (decision.kind === 'known') {
          const record = pool.records.get(decision.volumeId);
          if (record !== undefined) {
            // an attempt that was killed may have left the note
            await remember(environment, record.spec, options);
            return ownInTurn(environment, { pool, record }, owner, call);
          }
        }
        if (decision.kind === 'obstacle') throw invalid(decision.why);
        if (decision.kind !== 'take' || mounted === undefined)
          throw new StorageError('busy', `${path} has changed while it was looked at; repeat`);
        const record = await take(environment, { pool, path, mounted, disk: decision.disk }, options);
        await remember(environment, record.spec, options);
        return ownInTurn(environment, { pool, record }, owner, call);
      }),
    );
  });
}

async function withSurvey<T>(
  { pools }: VolumeEnvironment,
  pool: Pool,
  { byHand = false }: AdoptPathOptions,
  act: (survey: DiskSurvey) => Promise<T>,
): Promise<T> {
  return whileOpen(pool.root.openChild(discoveryName), async (folder) => {
    const known = knownDisks(pools.open());
    const forgotten = byHand ? [] : forgottenDisks(pools.open());
    return act({ pool, folder, known, forgotten, unknown: whyNotAllKnown(pools), seen: new Map() });
  });
}

/** As everybody changes a record: under its volume's lock, and as it is by then. */
function ownInTurn(
  environment: VolumeEnvironment,
  { pool, record }: LocatedVolume,
  owner: NewOwner,
  call: CallContext,
): Promise<AdoptedVolume> {
  const { id } = record.spec;
  return environment.locks.runInTurn(id, 'its adoption', call.signal, async () => {
    const present = pool.records.get(id);
    if (present === undefined) throw new StorageError('busy', `volume ${id} was deleted meanwhile; repeat`);
    return own(environment, { pool, record: present }, owner);
  });
}

/** Clears what was noted of a disk when it was forgotten, in whichever pool. */
async function remember(
  { pools }: VolumeEnvironment,
  { disk }: VolumeSpec,
  { byHand = false }: AdoptPathOptions,
): Promise<void> {
  if (disk !== undefined && byHand)
    for (const { forgottenDisks: forgotten } of pools.open()) await forgotten.clear(disk);
}

interface Taken {
  readonly pool: Pool;
  readonly path: string;
  readonly mounted: MountedEntry;
  readonly disk: DiskPlace;
}

async function take(
  environment: VolumeEnvironment,
  { pool, path, mounted, disk }: Taken,
  options: AdoptPathOptions,
): Promise<Awaited<ReturnType<Pool['records']['load']>>> {
  if (options.accessType === 'block') throw invalid(`${path} has a file system and cannot be a block volume`);
  // another disk's volume may have had the same place: an id that was given out once never means other data
  const id = options.volumeId ?? plainId(disk.entry, randomBytes(5).toString('hex'));
  requireId(id);
  await refuseTaken(environment, id);
  const spec: VolumeSpec = {
    id,
    backend: 'disk',
    accessType: 'mount',
    sizeBytes: floorToBlock(await sizeOfDisk(mounted.root)),
    provisioning: 'thin',
    limit: 'enforced',
    disk,
  };
  const relativePath = `${discoveryName}/${disk.entry}`;
  const record = recordOf(environment, { relativePath }, spec, options);
  refuseArchive(spec, record.onDelete);
  const users = await usersOfDisk(mounted, { entry: disk.entry, besidesTwins: true });
  if (users.length > 0) {
    throw new StorageError(
      'in-use',
      `the disk at ${path} is in use: ${users.slice(0, 5).join(', ')}; unmount it there, then repeat`,
    );
  }
  const adopting = await pool.root.ensureChild(adoptingName, 0o700);
  try {
    try {
      await whileOpen(adopting.ensureChild(id, 0o700), async (directory) => {
        await environment.reached?.('reserved', id);
        // whoever filled it used it: it is never taken for one that nobody wrote to
        await touchFile(directory, usedName);
        await pool.records.write(directory, record);
        await adopting.sync();
        await environment.reached?.('intent', id);
        await touchFile(directory, diskMarkName);
        await directory.sync();
        await environment.reached?.('data', id);
      });
    } finally {
      await settleAdoption(adopting, id, pool.volumes);
    }
  } finally {
    await adopting.close();
    // only its last sync may have failed: with a volume that nobody knows of its disk would be taken a second time
    if (await pool.volumes.exists(id)) await pool.records.load(id);
    await removeIfEmpty(pool.root, adoptingName);
  }
  const loaded = await pool.records.load(id);
  await environment.reached?.('commit', id);
  return loaded;
}

/** What an attempt left that could not be settled then: it is this disk's volume, or another's, and has to be known first. */
async function settleLeft(pool: Pool): Promise<void> {
  if (!(await pool.root.exists(adoptingName))) return;
  await whileOpen(pool.root.openChild(adoptingName), async (adopting) => {
    for (const id of await adopting.names()) {
      if (!isVolumeId(id) || !(await hasMark(adopting, id))) continue;
      if (await settleAdoption(adopting, id, pool.volumes)) await pool.records.load(id);
    }
  });
}

async function hasMark(adopting: Directory, id: string): Promise<boolean> {
  return whileOpen(adopting.openChild(id), (directory) => directory.exists(diskMarkName)).catch(() => false);
}

async function refuseTaken({ pools }: VolumeEnvironment, id: string): Promise<void> {
  for (const { name, records, trash, volumes } of pools.open()) {
    if (records.get(id) !== undefined || trash.holds(id) || !isVolumeId(id) || (await volumes.exists(id)))
      throw new StorageError(
        'already-exists-different',
        `a volume ${id} exists in pool ${name}; give this one another id`,
      );
  }
}

function invalid(message: string): StorageError {
  return new StorageError('invalid-argument', message);
}
