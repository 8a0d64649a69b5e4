import type { KubeApi } from '../../kube/kube-api.ts';
import type { StorageClass } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import type { CallContext, ListedVolume } from '../../model/csi-driver.ts';
import { messageOf } from '../../model/errors.ts';
import { every } from '../../model/every.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import type { AdoptedVolume, Discovery, HeldVolume, VolumeLedger } from '../../model/volume-ledger.ts';
import * as annotations from '../../claims/annotations.ts';
import { isOnNode, type OwnSide } from '../../claims/volume-facts.ts';
import type { OutcomeEvents } from '../outcome-events.ts';
import type { Orphans } from '../orphans/orphans.ts';
import type { Watches } from '../watches.ts';
import { buildAdoptedVolume } from './build-adopted-volume.ts';
import { offerVolume } from './offer-volume.ts';

const roundMs = 10_000;
/** What was changed more recently, anywhere in it, may still be being put there. */
const settledMs = 10_000;
const callMs = 30_000;
/** Of a class's parameters, those that say something of a volume that is there already. */
const kept = ['sharing', 'onDelete', 'scrub'];

/** The disks' side of discovery, which this room does not know. */
export interface DiscoverySource {
  discoveries(): Promise<readonly Discovery[]>;
  adoptPath(
    path: string,
    options: { readonly sizeBytes: bigint; readonly parameters: Readonly<Record<string, string>> },
    call: CallContext,
  ): Promise<AdoptedVolume>;
  getVolume(volumeId: string): Promise<ListedVolume>;
}

export interface DiscoveryLoopOptions {
  readonly api: KubeApi;
  readonly source: DiscoverySource;
  readonly watches: Watches;
  readonly ledger: VolumeLedger;
  readonly orphans: Pick<Orphans, 'look' | 'alone'>;
  readonly events: OutcomeEvents;
  readonly own: OwnSide;
  readonly clusterUid: string | undefined;
  /** how often the folders are looked into; 10 s */
  readonly discoverEveryMs?: number;
  /** how long a folder has to have been left alone; 10 s */
  readonly discoverSettledMs?: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Makes Available PVs, with policy Retain, of the folders that people put into a pool's `discovery/`, and of the disks that they mount
 * there. The folder becomes a volume first (a rename; of a disk only a record is made), its PV is written then, and last its record gets
 * this cluster's uid: a discovered volume without a uid has no PV yet, one with it is never offered again by itself, since somebody may
 * have had it. PVs are never deleted here, whatever becomes of the data.
 */
export class DiscoveryLoop {
  readonly #options: DiscoveryLoopOptions;
  /** path → what was last said of it */
  readonly #told = new Map<string, string>();
  #running: Promise<void> | undefined;

  constructor(options: DiscoveryLoopOptions) {
    this.#options = options;
  }

  /** @returns how to stop; what is under way ends with the signal */
  start(signal: AbortSignal): () => void {
    const look = (): void => {
      this.#running ??= this.#round(signal)
        .catch((error: unknown) => {
          if (!signal.aborted)
            this.#options.log.warn({ err: messageOf(error) }, 'discovery folders could not be looked at');
        })
        .finally(() => {
          this.#running = undefined;
        });
    };
    look();
    return every(this.#options.clock, this.#options.discoverEveryMs ?? roundMs, look);
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { source, ledger } = this.#options;
    const discoveries = await source.discoveries();
    const isKnown = this.#options.clusterUid !== undefined;
    this.#forgetGone(discoveries);
    // a record without it looks as if nobody ever had the volume, and it would be offered to all again when its PV is deleted
    if (!isKnown && discoveries.length > 0)
      this.#tell(
        'cluster',
        "the cluster's identity (namespace kube-system) cannot be read: nothing is discovered",
      );
    for (const discovery of isKnown ? discoveries : []) {
      const storageClass = this.#classOf(discovery);
      if (storageClass === undefined) continue;
      await this.#takeIn(discovery, storageClass, signal);
      const waiting = ledger
        .held()
        .filter((held) => held.poolUuid === discovery.poolUuid && isUnoffered(held));
      for (const held of waiting) await this.#offer(held, storageClass, signal);
    }
    if (discoveries.length > 0) await this.#checkData(signal);
  }

  #classOf({ className, poolName }: Discovery): StorageClass | undefined {
    const { watches, own } = this.#options;
    const found = watches.classNamed(className);
    if (found?.provisioner === own.driverName && found.metadata.deletionTimestamp === undefined) return found;
    this.#tell(
      `pool ${poolName}`,
      `there is no StorageClass ${className} of ${own.driverName} for what is discovered`,
    );
    return undefined;
  }

  async #takeIn(discovery: Discovery, storageClass: StorageClass, signal: AbortSignal): Promise<void> {
    const { source, clock, log, metrics, discoverSettledMs = settledMs } = this.#options;
    const said = Object.entries(storageClass.parameters ?? {});
    const parameters = Object.fromEntries(said.filter(([key]) => kept.includes(key)));
    for (const { path, changedAtMs, obstacle } of discovery.entries) {
      signal.throwIfAborted();
      if (obstacle !== undefined) this.#tell(path, obstacle);
      if (obstacle !== undefined || clock.nowMs() - changedAtMs < discoverSettledMs) continue;
      try {
        const { sizeBytes } = discovery;
        const { volumeId } = await source.adoptPath(path, { sizeBytes, parameters }, this.#call(signal));
        this.#told.delete(path);
        log.info({ path, volumeId }, 'discovered folder is a volume now');
        metrics.count('loam_discovered_total', {});
      } catch (error) {
        signal.throwIfAborted();
        this.#tell(path, messageOf(error));
      }
    }
  }

  async #offer(held: HeldVolume, storageClass: StorageClass, signal: AbortSignal): Promise<void> {
    const { api, own, orphans, ledger, watches, clusterUid, log } = this.#options;
    const { volumeId } = held;
    try {
      await orphans.alone(volumeId, async () => {
        const { decision } = await orphans.look(volumeId, signal);
        if (decision.kind === 'unknown' || decision.kind === 'begun') return;
        if (decision.kind === 'orphan') {
          const { driverName, topologyValue } = own;
          const wish = { volume: held, storageClass, driverName, topologyValue };
          const wanted = buildAdoptedVolume({ ...wish, how: 'discovered', policy: 'Retain' });
          watches.putVolume(await offerVolume(api, wanted, signal));
        }
        const className = storageClass.metadata.name;
        const owner = { className, ...(clusterUid === undefined ? {} : { clusterUid }) };
        await ledger.adopt(volumeId, owner, this.#call(signal));
      });
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ volumeId, err: messageOf(error) }, 'a discovered volume has no PV yet');
    }
  }

  /** A PV whose data went stays, and says so: a disk that comes back has its PV still. */
  async #checkData(signal: AbortSignal): Promise<void> {
    const { watches, own, source, events } = this.#options;
    for (const volume of watches.volumes()) {
      const { csi } = volume.spec;
      if (volume.metadata.annotations?.[annotations.adopted] !== 'discovered') continue;
      if (csi?.driver !== own.driverName || !isOnNode(volume, own)) continue;
      signal.throwIfAborted();
      const trouble = await source.getVolume(csi.volumeHandle).then(
        ({ condition }) => (condition.abnormal ? condition.message : undefined),
        (error: unknown) => messageOf(error),
      );
      const kept = `${trouble}; the PersistentVolume is kept and serves again when the data is back`;
      if (trouble !== undefined) events.warning('PersistentVolume', volume, 'DiscoveredVolumeMissing', kept);
    }
  }

  /** What comes back is told of again, and nothing is kept of what went. */
  #forgetGone(discoveries: readonly Discovery[]): void {
    const present = new Set(
      discoveries.flatMap(({ poolName, entries }) => [
        `pool ${poolName}`,
        ...entries.map(({ path }) => path),
      ]),
    );
    for (const key of this.#told.keys()) if (key !== 'cluster' && !present.has(key)) this.#told.delete(key);
  }

  #tell(path: string, what: string): void {
    if (this.#told.get(path) === what) return;
    this.#told.set(path, what);
    this.#options.log.warn({ path }, what);
  }

  #call(signal: AbortSignal): CallContext {
    return {
      signal: AbortSignal.any([signal, AbortSignal.timeout(callMs)]),
      deadlineMs: this.#options.clock.nowMs() + callMs,
    };
  }
}

function isUnoffered({ adoptedFrom, clusterUid, isRecycling }: HeldVolume): boolean {
  return adoptedFrom?.startsWith('discovery/') === true && clusterUid === undefined && !isRecycling;
}
