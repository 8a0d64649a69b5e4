import { createHash } from 'node:crypto';
import { dataName, imageName } from '../../backends/backend.ts';
import type { Directory } from '../../host/directory.ts';
import { removeIfEmpty, touchFile } from '../../host/entries.ts';
import { entryFacts, makePrivate, type EntryFacts } from '../../host/entry-facts.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { AdoptedVolume } from '../../model/volume-ledger.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import type { VolumeRecord } from '../records/record.ts';
import { usedName } from '../records/record-store.ts';
import { callError, type VolumeEnvironment } from '../volume-environment.ts';
import { adoptDisk, isOfDisk } from './adopt-disk.ts';
import { own } from './adopt-volume.ts';
import { plainId, recordOf, requireId, type AdoptPathOptions } from './adopted-record.ts';
import { settleAdoption } from './adopting-folder.ts';
import { inspectSource, readSource, withParent, type Source } from './find-adoptable.ts';
import { adoptingName } from './own-folders.ts';
import { putBack } from './put-back.ts';
import { shapeOfSource } from './shape-of-source.ts';

/**
 * Makes a volume of a folder or an image file that lies in a pool: `discovery/…`, or whatever of the pool's root is not Loam's own; of a
 * disk that is mounted in `discovery/` see `adoptDisk`. Nothing
 * is copied: it moves to `volumes/<id>` by renames, and its bytes, owners and modes stay as they are (an image's file becomes private).
 * A folder is held to no size; an image keeps its own. Room is promised for it even where the pool has none left: the data is there.
 *
 * Killed anywhere: it is where it was, or a volume; what lies between is settled at the next start, or by a repeat. A repeat after the end
 * answers with the same volume.
 * @param path absolute; no link on the way, below the pool, is followed
 * @throws StorageError 'invalid-argument' | 'invalid-parameter' | 'pool-not-found' | 'path-not-found' | 'in-use' | 'size-out-of-range' |
 *   'unsupported-capability' | 'already-exists-different' | 'still-removing' | 'busy' | 'pool-unavailable'
 */
export async function adoptPath(
  environment: VolumeEnvironment,
  path: string,
  options: AdoptPathOptions,
  call: CallContext,
): Promise<AdoptedVolume> {
  const source = readSource(environment.pools, path);
  try {
    await environment.pools.check(source.pool);
    if (await isOfDisk(environment, source, options))
      return await adoptDisk(environment, source, options, call);
    const id = options.volumeId ?? idFor(source);
    requireId(id);
    return await environment.locks.run(id, 'its adoption', async () => {
      const finished = await findFinished(environment, source, id);
      const record = finished ?? (await take(environment, source, id, options));
      return own(environment, { pool: source.pool, record }, options.owner ?? {});
    });
  } catch (error) {
    throw callError(error, call, `adopting ${path}`);
  }
}

/** The same name at every attempt, and another one for each path. */
function idFor({ pool, relativePath, name }: Source): string {
  const hash = createHash('sha256').update(`${pool.uuid}/${relativePath}`).digest('hex').slice(0, 10);
  return plainId(name, hash);
}

/** What an earlier attempt has made already. @throws StorageError where the id is another volume's */
async function findFinished(
  { pools }: VolumeEnvironment,
  source: Source,
  id: VolumeId,
): Promise<VolumeRecord | undefined> {
  const { pool, relativePath } = source;
  for (const other of pools.open()) {
    const broken = other.records.broken(id);
    if (broken !== undefined) throw broken;
    const record = other.records.get(id) ?? other.records.byName(id);
    if (record !== undefined) {
      const isSame = other === pool && record.adoptedFrom === relativePath && record.spec.id === id;
      if (isSame && !(await isThere(source))) return record;
      const whose =
        record.adoptedFrom === undefined ? 'is another one' : `was adopted from ${record.adoptedFrom}`;
      throw new StorageError(
        'already-exists-different',
        `volume ${id} exists in pool ${other.name} and ${whose}; give this one another id`,
      );
    }
    if (other.trash.holds(id)) {
      throw new StorageError(
        'still-removing',
        `an older volume ${id} is still being removed; repeat, or give another id`,
      );
    }
  }
  return undefined;
}

async function isThere(source: Source): Promise<boolean> {
  try {
    return await withParent(source, async (parent) => (await entryFacts(parent, source.name)) !== undefined);
  } catch (error) {
    if (error instanceof StorageError && error.reason === 'path-not-found') return false;
    throw error;
  }
}

/** Moves the source, with its record before it, into its place. */
async function take(
  environment: VolumeEnvironment,
  source: Source,
  id: VolumeId,
  options: AdoptPathOptions,
): Promise<VolumeRecord> {
  const { pool } = source;
  const adopting = await pool.root.ensureChild(adoptingName, 0o700);
  try {
    // an attempt that failed and could not be undone then
    if (!(await settleAdoption(adopting, id, pool.volumes))) {
      try {
        await withParent(source, (parent) => move(environment, { source, parent, adopting, id, options }));
      } finally {
        // forwards where the data has moved, back where it has not; a crash leaves that to the next start
        await settleAdoption(adopting, id, pool.volumes);
      }
    }
  } finally {
    await adopting.close();
    await removeIfEmpty(pool.root, adoptingName);
  }
  const record = await pool.records.load(id);
  pool.lookAtImages();
  environment.spaceChanged.tell();
  await environment.reached?.('commit', id);
  return record;
}

async function move(
  environment: VolumeEnvironment,
  parts: {
    readonly source: Source;
    readonly parent: Directory;
    readonly adopting: Directory;
    readonly id: VolumeId;
    readonly options: AdoptPathOptions;
  },
): Promise<void> {
  const { source, parent, adopting, id, options } = parts;
  const { pool, name } = source;
  const facts = await inspectSource(source, parent);
  const spec = await shapeOfSource(id, parent, name, facts, options);
  const record = recordOf(environment, source, spec, options);
  const directory = await adopting.ensureChild(id, 0o700);
  try {
    await environment.reached?.('reserved', id);
    // whoever filled it used it: it is never taken for one that nobody wrote to
    await touchFile(directory, usedName);
    await pool.records.write(directory, record);
    await adopting.sync();
    await environment.reached?.('intent', id);
    if (facts.kind === 'file') await makePrivate(parent, name);
    const toName = facts.kind === 'file' ? imageName : dataName;
    await parent.rename(name, directory, toName);
    await requireSame(facts, { parent, name, directory, toName });
    await environment.reached?.('data', id);
  } finally {
    await directory.close();
  }
}

/** What was looked at is what was moved; something else that took its name meanwhile goes back. */
async function requireSame(
  before: EntryFacts,
  place: {
    readonly parent: Directory;
    readonly name: string;
    readonly directory: Directory;
    readonly toName: string;
  },
): Promise<void> {
  const { parent, name, directory, toName } = place;
  const moved = await entryFacts(directory, toName);
  if (moved?.inode === before.inode && moved.device === before.device && moved.kind === before.kind) return;
  const now = await putBack(directory, toName, parent, name);
  const where = now === name ? '' : ` (what was there for a moment is ${parent.pathOf(now)} now)`;
  throw new StorageError(
    'busy',
    `${parent.pathOf(name)} was replaced while it was adopted${where}; leave it alone, then repeat`,
  );
}
