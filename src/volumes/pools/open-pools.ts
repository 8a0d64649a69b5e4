import type { PoolConfig } from '../../config/config.ts';
import { openOrMake } from '../../host/path-facts.ts';
import { isReason, messageOf, StorageError } from '../../model/errors.ts';
import { Listeners } from '../../model/listeners.ts';
import { describeEntry } from '../../model/snapshot-id.ts';
import type { PoolTrouble } from '../../model/volume-ledger.ts';
import { KnownPools } from './known-pools.ts';
import { locateSnapshot, type LocatedSnapshot } from '../snapshots/locate-snapshot.ts';
import { locateVolume, type LocatedVolume } from '../locate-volume.ts';
import { isHeldElsewhere, openPool, type PoolServices } from './open-pool.ts';
import type { Pool } from './pool.ts';

interface Slot {
  readonly config: PoolConfig;
  pool: Pool | undefined;
  /** why it is not open */
  why: string;
  /** another process has it: a predecessor that is about to end, most likely */
  isHeldElsewhere: boolean;
  lastTriedMs: number;
  /** an attempt under way, shared by all who ask meanwhile */
  opening: Promise<void> | undefined;
}

/** A pool that is not there is looked for at use, but not more often than this, and by itself every now and then. */
const retryAtUseMs = 1000;
const retryAloneMs = 15_000;
const retryHeldMs = 2000;

/**
 * All configured pools, open or not. A pool whose disk is missing does not keep the others from serving, and comes
 * back by itself once the disk does.
 */
export class Pools {
  readonly #slots: readonly Slot[];
  readonly #known: KnownPools;
  readonly #services: PoolServices;
  readonly #removed = new Listeners<string>();
  #cancelTimer: () => void = () => {};
  #isStopped = false;

  constructor(configs: readonly PoolConfig[], known: KnownPools, services: PoolServices) {
    this.#known = known;
    this.#services = services;
    this.#slots = configs.map((config) => ({
      config,
      pool: undefined,
      why: 'not looked at yet',
      isHeldElsewhere: false,
      lastTriedMs: 0,
      opening: undefined,
    }));
  }

  /** Tries every pool once; those that fail are tried again later. Resolves when those that opened are recovered. */
  async start(): Promise<void> {
    // one after the other: a uuid that is configured twice must always be refused to the second
    for (const slot of this.#slots) await this.#tryOpen(slot);
    this.#schedule();
  }

  /** The open pools, in the order of the configuration. */
  open(): readonly Pool[] {
    return this.#slots.flatMap((slot) => slot.pool ?? []);
  }

  /** The pools that are not there, with the reason for people. */
  unavailable(): readonly PoolTrouble[] {
    return this.#slots
      .filter((slot) => slot.pool === undefined)
      .map(({ config: { name, path }, why }) => ({ name, path, why }));
  }

  /** Paths of all configured pools, there or not: no publish may go below them. */
  paths(): readonly string[] {
    return this.#slots.map((slot) => slot.config.path);
  }

  isConfigured(name: string): boolean {
    return this.#slots.some((slot) => slot.config.name === name);
  }

  /** Checks every pool, looks for those that are missing, and answers with those that can be used now. */
  async usable(): Promise<readonly Pool[]> {
    await Promise.all(this.#slots.map((slot) => this.#refresh(slot)));
    return this.open();
  }

  /** @throws StorageError 'pool-unavailable' where the pool's disk is not there any more */
  async check(pool: Pool): Promise<void> {
    const slot = this.#slots.find((candidate) => candidate.pool === pool);
    if (slot === undefined)
      throw new StorageError('pool-unavailable', `pool ${pool.name} was closed; repeat the call`);
    await this.#refresh(slot);
    if (slot.pool !== pool) throw new StorageError('pool-unavailable', slot.why);
  }

  /** See `locateVolume`. */
  locate(volumeId: string, poolUuid?: string): LocatedVolume | undefined {
    return locateVolume(this.open(), volumeId, poolUuid);
  }

  /**
   * Finds a volume for use: its pool was checked, and where the volume is unknown every missing pool was looked for.
   *
   * @returns undefined where it is certain that this node has no such volume
   * @throws StorageError 'pool-unavailable' where it may lie in a pool that is not there; else as `locateVolume`
   */
  async find(volumeId: string, poolUuid?: string): Promise<LocatedVolume | undefined> {
    const found = this.locate(volumeId, poolUuid);
    if (found !== undefined) {
      await this.check(found.pool);
      return found;
    }
    await this.usable();
    const late = this.locate(volumeId, poolUuid);
    if (late === undefined) this.#assertNowhere(volumeId, poolUuid);
    return late;
  }

  /**
   * Finds a snapshot as `find` does a volume.
   *
   * @throws StorageError 'pool-unavailable'; 'data-loss' where its record cannot be read
   */
  async findSnapshot(snapshotId: string): Promise<LocatedSnapshot | undefined> {
    const found = locateSnapshot(this.open(), snapshotId);
    if (found !== undefined) {
      await this.check(found.pool);
      return found;
    }
    await this.usable();
    const late = locateSnapshot(this.open(), snapshotId);
    if (late === undefined) this.#assertNowhere(snapshotId, undefined);
    return late;
  }

  /** Calls back when the last byte of a deleted volume is gone, whichever pool it was in. */
  onRemoved(listener: (id: string) => void): () => void {
    return this.#removed.add(listener);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer();
    await Promise.all(this.#slots.flatMap((slot) => slot.opening ?? []));
    await Promise.all(this.#slots.map((slot) => this.#close(slot, 'stopped')));
    await this.#known.close();
  }

  #assertNowhere(id: string, poolUuid: string | undefined): void {
    if (this.open().some((pool) => pool.uuid === poolUuid)) return;
    const missing = this.unavailable();
    if (poolUuid !== undefined) {
      const known = this.#known.isKnown(poolUuid) ? 'has seen, but has not now' : 'does not know';
      throw new StorageError(
        'pool-unavailable',
        `${describeEntry(id)} lies in pool ${poolUuid}, which this node ${known}${because(missing)}; mount and configure it`,
      );
    }
    if (missing.length > 0) {
      throw new StorageError(
        'pool-unavailable',
        `${describeEntry(id)} may lie in a pool that is missing${because(missing)}`,
      );
    }
  }

  async #refresh(slot: Slot): Promise<void> {
    if (slot.pool === undefined) {
      const isDue = this.#services.clock.nowMs() - slot.lastTriedMs >= retryAtUseMs;
      if (isDue || slot.opening !== undefined) await this.#tryOpen(slot);
      return;
    }
    const { pool } = slot;
    try {
      await pool.check();
    } catch (error) {
      if (slot.pool !== pool) return;
      this.#services.log.error({ pool: pool.name, error: messageOf(error) }, 'pool lost');
      await this.#close(slot, messageOf(error));
      // something else may be mounted there already: the same disk again, for one
      if (isReason(error, 'pool-unavailable')) await this.#tryOpen(slot);
    }
  }

  async #tryOpen(slot: Slot): Promise<void> {
    slot.opening ??= this.#openNow(slot).finally(() => {
      slot.opening = undefined;
    });
    await slot.opening;
  }

  async #openNow(slot: Slot): Promise<void> {
    if (this.#isStopped || slot.pool !== undefined) return;
    const { log, metrics, clock } = this.#services;
    const { name, path } = slot.config;
    slot.lastTriedMs = clock.nowMs();
    try {
      const pool = await openPool(
        slot.config,
        this.#known,
        (uuid) => this.#takenBy(uuid, slot),
        this.#services,
      );
      pool.trash.onRemoved((id) => {
        this.#services.spaceChanged?.tell();
        this.#removed.tell(id);
      });
      slot.pool = pool;
      slot.isHeldElsewhere = false;
      log.info({ pool: name, path, uuid: pool.uuid }, 'pool opened');
      this.#services.spaceChanged?.tell();
    } catch (error) {
      const why = messageOf(error);
      const isNews = why !== slot.why;
      slot.why = why;
      slot.isHeldElsewhere = isHeldElsewhere(error);
      if (isNews) {
        log.error({ pool: name, path, error: why }, 'pool unavailable');
        this.#services.spaceChanged?.tell();
      }
    }
    metrics.gauge('loam_pool_available', { pool: name }, slot.pool === undefined ? 0 : 1);
  }

  #takenBy(uuid: string, slot: Slot): string | undefined {
    const other = this.#slots.find((candidate) => candidate !== slot && candidate.pool?.uuid === uuid);
    if (other === undefined) return undefined;
    return `${slot.config.path} is pool ${uuid}, which is open as ${other.config.name} at ${other.config.path}; configure it once`;
  }

  async #close(slot: Slot, why: string): Promise<void> {
    const { pool } = slot;
    if (pool === undefined) return;
    slot.pool = undefined;
    slot.why = why;
    this.#services.metrics.gauge('loam_pool_available', { pool: pool.name }, 0);
    // at a shutdown the volumes stay where they are, and so does what is said of their room
    if (!this.#isStopped) this.#services.spaceChanged?.tell();
    await pool.close().catch((error: unknown) => {
      this.#services.log.warn({ pool: pool.name, error: messageOf(error) }, 'pool not closed cleanly');
    });
  }

  #schedule(): void {
    if (this.#isStopped) return;
    const isAnyHeld = this.#slots.some((slot) => slot.isHeldElsewhere);
    const { clock, poolRetryMs = retryAloneMs } = this.#services;
    this.#cancelTimer = clock.after(isAnyHeld ? retryHeldMs : poolRetryMs, () => {
      void this.usable().then(() => this.#schedule());
    });
  }
}

function because(missing: readonly { readonly name: string; readonly why: string }[]): string {
  return missing.length === 0 ? '' : ` (${missing.map(({ name, why }) => `${name}: ${why}`).join('; ')})`;
}

/**
 * Opens the node's pools: markers compared with what this node remembers, leftovers of a crash put in order.
 *
 * A pool that cannot be opened is logged and looked for again; it keeps nobody from serving.
 * @param stateDir where the node remembers its pools, outside of them
 * @throws StorageError 'data-loss' where known-pools.json cannot be read
 */
export async function openPools(
  config: { readonly pools: readonly PoolConfig[]; readonly stateDir: string },
  services: PoolServices,
): Promise<Pools> {
  const known = await KnownPools.load(await openOrMake(config.stateDir, 0o700));
  const pools = new Pools(config.pools, known, services);
  await pools.start();
  return pools;
}
