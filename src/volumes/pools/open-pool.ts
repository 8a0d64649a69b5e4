import type { Backend } from '../../backends/backend.ts';
import type { PoolConfig } from '../../config/config.ts';
import { Directory } from '../../host/directory.ts';
import { removeTemporaries } from '../../host/durable-file.ts';
import { setMode } from '../../host/entries.ts';
import { fileSystemIdentity } from '../../host/file-system-identity.ts';
import { fileSystemIdOf } from '../../host/file-system-id.ts';
import { lockDirectory } from '../../host/lock-directory.ts';
import type { Pace } from '../../host/pace.ts';
import { whyNoOwnFileSystem } from '../../host/own-file-system.ts';
import { identityOf } from '../../host/path-facts.ts';
import { ReserveFile, ReserveFolder } from '../../host/reserve-file.ts';
import { statFileSystem, type FileSystemStatus } from '../../host/statfs.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf, StorageError } from '../../model/errors.ts';
import type { Listeners } from '../../model/listeners.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import { settleAdoptions } from '../adoption/adopting-folder.ts';
import { ForgottenDisks } from '../adoption/forgotten-disks.ts';
import { AllocatedImages } from '../space/allocated-images.ts';
import { Archive } from '../archive/archive.ts';
import { Reserve, reserveName } from '../space/reserve.ts';
import { BackendOffers } from './backend-offers.ts';
import { ClaimLinks } from './claim-links.ts';
import { diskError } from '../disk-error.ts';
import type { KnownPools } from './known-pools.ts';
import { Pool } from './pool.ts';
import { createMarker, decideMarker, placeMarker, readMarker } from './pool-marker.ts';
import { RecordStore } from '../records/record-store.ts';
import { SnapshotStore } from '../records/snapshot-store.ts';
import { recoverPool } from './recover.ts';
import type { GiveWay } from '../trash/give-way.ts';
import { Trash } from '../trash/trash.ts';

/** What every pool of the process shares. */
export interface PoolServices {
  readonly backends: readonly Backend[];
  readonly pace: Pace;
  /** what long removals wait for; unset: nothing */
  readonly giveWay?: GiveWay;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** aborts at shutdown */
  readonly signal: AbortSignal;
  /** whether a volume is staged since this boot; its loop device is kept through a restart */
  readonly isStaged: (id: string) => boolean;
  /** told when a pool opens, closes or fails, and when a deleted volume's last byte is gone; unset: nobody listens */
  readonly spaceChanged?: Listeners<void>;
  /** unset: the kernel's word; tests say otherwise */
  readonly statFileSystem?: (path: string) => Promise<FileSystemStatus>;
  /** how often a pool that is not there is looked for by itself; 15 s */
  readonly poolRetryMs?: number;
  /** whether each pool keeps some of its disk back for deleting; unset: not */
  readonly keepsReserve?: boolean;
  /** unset: `lockDirectory`; tests let processes die that go on holding their descriptors */
  readonly lock?: (root: Directory, signal: AbortSignal) => Promise<boolean>;
}

/** Whether an `openPool` failed because another process has the pool, which may be about to end. */
export function isHeldElsewhere(error: unknown): boolean {
  return error instanceof StorageError && error.facts['heldElsewhere'] === true;
}

/**
 * Opens one configured folder as a pool, after its marker was seen, and recovers what a crash left in it. When it
 * resolves the pool can serve.
 *
 * @param isTaken why a pool of this uuid must not be opened (it is open already), if so
 * @throws StorageError 'pool-unavailable' | 'data-loss' with what to do; then nothing in the folder was changed but,
 *   at most, leftovers removed
 */
export async function openPool(
  config: PoolConfig,
  known: KnownPools,
  isTaken: (uuid: string) => string | undefined,
  services: PoolServices,
): Promise<Pool> {
  const opened: Directory[] = [];
  let trash: Trash | undefined;
  let offers: BackendOffers | undefined;
  const keep = async (opening: Promise<Directory>): Promise<Directory> => {
    const directory = await opening;
    opened.push(directory);
    return directory;
  };
  try {
    const root = await keep(openRoot(config.path));
    if (config.mustBeMounted === true) await requireMounted(root, config.path);
    const uuid = await identify(root, config, known, isTaken, services);
    const log = services.log.child({ pool: config.name });
    const statPool = services.statFileSystem ?? statFileSystem;
    const reserve = await reserveOf(root, config.path, { services, log });
    await removeTemporaries(root);
    const folder = (name: string): Promise<Directory> => {
      const ensure = () => root.ensureChild(name, 0o700);
      return keep(reserve?.around(ensure) ?? ensure());
    };
    const volumes = await folder('volumes');
    const snapshots = await folder('snapshots');
    const byClaim = await folder('by-claim');
    await settleAdoptions(root, volumes, log);
    const archiveFolder = await folder('archive');
    const withReserve = <T>(act: () => Promise<T>): Promise<T> => reserve?.around(act) ?? act();
    const records = new RecordStore(volumes, withReserve);
    const snapshotRecords = new SnapshotStore(snapshots);
    const archive = new Archive({ folder: archiveFolder, writtenBytes: writtenBytesOf(services), log });
    const hasCopies = (): boolean => snapshotRecords.size > 0 || records.copied > 0 || archive.hasCopies();
    trash = trashOf(root, config.name, { services, log, hasCopies });
    const { clock } = services;
    const images = new AllocatedImages({
      records,
      pathOf: (id) => volumes.pathOf(id),
      hasCopies,
      clock,
      log,
      signal: services.signal,
    });
    const onNews = (): void => services.spaceChanged?.tell();
    offers = await BackendOffers.ask({ root, ...services, log, withReserve, onNews });
    const pool = new Pool({
      config,
      uuid,
      identity: await identityOf(root),
      root,
      volumes,
      snapshots,
      byClaim,
      records,
      snapshotRecords,
      claimLinks: new ClaimLinks(byClaim, log),
      trash,
      archive,
      forgottenDisks: new ForgottenDisks(root, clock, log),
      ...(reserve && { reserve }),
      images,
      offers,
      isCopyOnWrite: (await statPool(config.path)).isCopyOnWrite,
      fileSystemId: await fileSystemIdOf(config.path),
      statFileSystem: statPool,
    });
    const { backends, signal, isStaged } = services;
    await recoverPool(pool, { backends, log, signal, isStaged });
    await Promise.all([trash.load(), images.look(), archive.load(), pool.forgottenDisks.load(records.all())]);
    await reserve?.fill();
    trash.onRemoved(() => void reserve?.fill());
    return pool;
  } catch (error) {
    await Promise.all([trash?.stop(), offers?.stop()]);
    await Promise.all(opened.map((directory) => directory.close()));
    throw diskError(error, `pool ${config.name} cannot be opened`);
  }
}

async function openRoot(path: string): Promise<Directory> {
  try {
    return await Directory.open(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const what =
      code === 'ENOENT'
        ? 'does not exist; mount its disk or make the folder'
        : code === 'ELOOP' || code === 'ENOTDIR'
          ? 'is no folder, or a link to one; name the folder itself'
          : `cannot be opened: ${messageOf(error)}`;
    throw new StorageError('pool-unavailable', `${path} ${what}`, { cause: error });
  }
}

/** Before anything is read or written there: a folder on the root disk may even be a pool, made while the disk was missing. */
async function requireMounted(root: Directory, path: string): Promise<void> {
  const why = await whyNoOwnFileSystem(root);
  if (why === undefined) return;
  throw new StorageError(
    'pool-unavailable',
    `${path} is no mounted file system of its own, it is ${why}; mount the disk at ${path}, or drop mounted=true`,
  );
}

/**
 * The guard: no marker, no pool; and one process only, since two would promise the same space twice and sweep each
 * other's half-made volumes. Nothing is written before it has decided.
 */
async function identify(
  root: Directory,
  config: PoolConfig,
  known: KnownPools,
  isTaken: (uuid: string) => string | undefined,
  { clock, signal, lock = lockDirectory }: PoolServices,
): Promise<string> {
  const found = await readMarker(root);
  const fileSystem = await fileSystemIdentity(root);
  const decision = decideMarker({
    path: config.path,
    marker: found,
    knownUuid: known.uuidAt(config.path),
    names: found === undefined ? await root.names() : [],
    initialise: config.initialise,
    fileSystem,
  });
  if (decision.kind === 'refuse') throw new StorageError('pool-unavailable', decision.why);
  if (decision.kind === 'use') {
    const taken = isTaken(decision.marker.uuid);
    if (taken !== undefined) throw new StorageError('pool-unavailable', taken);
  }
  if (!(await lock(root, signal))) {
    throw new StorageError(
      'pool-unavailable',
      `${config.path} is in use by another process, perhaps one that is still stopping; it is opened when that has ended`,
      { facts: { heldElsewhere: true } },
    );
  }
  await setMode(root, 0o700);
  const isNew = decision.kind === 'create';
  const marker = isNew ? await createMarker(root, clock.nowMs(), fileSystem) : decision.marker;
  // a disk that is full is served without
  if (!isNew) await placeMarker(root, marker, fileSystem).catch(() => {});
  await known.remember(marker.uuid, config.name, config.path);
  return marker.uuid;
}

function trashOf(
  root: Directory,
  poolName: string,
  parts: { readonly services: PoolServices; readonly log: Log; readonly hasCopies: () => boolean },
): Trash {
  const { log, hasCopies } = parts;
  const { pace, giveWay, metrics, clock, signal, backends } = parts.services;
  return new Trash({
    pool: root,
    poolName,
    pace,
    ...(giveWay && { giveWay }),
    log,
    metrics,
    clock,
    signal,
    hasCopies,
    beforeRemove: async (entryPath, record, signal) => {
      const backend = backends.find((candidate) => candidate.name === record?.spec.backend);
      if (record !== undefined) await backend?.release({ path: entryPath }, record.spec, signal);
    },
    destroyElsewhere: async (entryPath, record, wish) => {
      const backend = backends.find((candidate) => candidate.name === record.spec.backend);
      if (backend?.destroyElsewhere === undefined)
        throw new StorageError(
          'host-failure',
          `backend ${record.spec.backend} is not built in; upgrade loam`,
        );
      await backend.destroyElsewhere({ path: entryPath }, record.spec, wish);
    },
    discard: async (entryPath, record, signal) => {
      for (const backend of backends) {
        // whose it was is not known without a record; what is not its own kind, a backend leaves alone
        const mayBeIts = record === undefined || record.spec.backend === backend.name;
        if (mayBeIts) await backend.discard?.({ path: entryPath }, signal);
      }
    },
  });
}

/** Found before anything is written, so that a pool can be opened whose disk is full. */
async function reserveOf(
  pool: Directory,
  path: string,
  { services, log }: { readonly services: PoolServices; readonly log: Log },
): Promise<Reserve | undefined> {
  if (services.keepsReserve !== true) return undefined;
  const { signal } = services;
  const { type } = await statFileSystem(path);
  const held = type === 'btrfs' ? new ReserveFolder(pool, reserveName) : new ReserveFile(pool, reserveName);
  const reserve = new Reserve({ held, statFileSystem: () => statFileSystem(path), log, signal });
  await reserve.load();
  return reserve;
}

function writtenBytesOf({ backends }: PoolServices) {
  return async (path: string, spec: VolumeSpec): Promise<bigint | undefined> => {
    const backend = backends.find((candidate) => candidate.name === spec.backend);
    return backend?.writtenBytes?.({ path }, spec);
  };
}
