import { join } from 'node:path';
import type { Backend } from '../backends/backend.ts';
import { BtrfsBackend } from '../backends/btrfs/backend.ts';
import { DirectoryBackend } from '../backends/directory/backend.ts';
import { DiskBackend } from '../backends/disk/backend.ts';
import { LoopbackBackend } from '../backends/loopback/backend.ts';
import type { Config } from '../config/config.ts';
import { createPace } from '../host/pace.ts';
import type { Clock } from '../model/clock.ts';
import type { DiskInventory } from '../model/disk-inventory.ts';
import { Listeners } from '../model/listeners.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { nodeSegments } from '../model/topology.ts';
import { labelValueOf } from '../model/topology-value.ts';
import type { InlineSettings } from '../volumes/inline/inline-environment.ts';
import { keepSweeping } from '../volumes/inline/inline-sweep.ts';
import { CopyJobs } from '../volumes/copies/copy-jobs.ts';
import { Holds } from '../volumes/copies/holds.ts';
import { KeyedLock } from '../volumes/keyed-lock.ts';
import { inventoryOf } from '../volumes/inventory/take-inventory.ts';
import { NodeService } from '../volumes/node-service.ts';
import { openPools, type Pools } from '../volumes/pools/open-pools.ts';
import { Publications } from '../volumes/published/publications.ts';
import { giveWayTo } from '../volumes/trash/give-way.ts';
import { VolumeService } from '../volumes/volume-service.ts';

/** What every part of a process shares. */
export interface ProcessContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** aborts when the process is to end */
  readonly signal: AbortSignal;
}

/** The driver without any wire: pools opened and recovered, both halves ready to be asked. */
export interface VolumeStack {
  readonly pools: Pools;
  readonly controller: VolumeService;
  readonly node: NodeService;
  readonly inventory: DiskInventory;
  /** Lets the trash finish its present step and closes what is held open. */
  stop(): Promise<void>;
}

type StackConfig = Pick<
  Config,
  | 'driverName'
  | 'nodeName'
  | 'pools'
  | 'runDir'
  | 'stateDir'
  | 'scrubBytesPerSecond'
  | 'removeFilesPerSecond'
  | 'maxVolumesPerNode'
> & {
  /** unset: no pod gets an inline volume */
  readonly inline?: InlineSettings;
  /** how often a pool that is not there is looked for by itself; 15 s */
  readonly poolRetryMs?: number;
};

/**
 * Opens the pools, with what a crash left in them put in order.
 *
 * @param version of the program, as GetPluginInfo tells it
 */
export async function startVolumeStack(
  config: StackConfig,
  version: string,
  context: ProcessContext,
): Promise<VolumeStack> {
  const { clock, log, metrics, signal } = context;
  const poolPaths = config.pools.map(({ path }) => path);
  const backends: readonly Backend[] = [
    new LoopbackBackend({ poolPaths }),
    new BtrfsBackend({
      poolPaths,
      quotaPaths: config.pools.filter(({ tenants }) => tenants === 'trusted').map(({ path }) => path),
    }),
    new DirectoryBackend({ poolPaths }),
    new DiskBackend({ poolPaths }),
  ];
  const publications = await Publications.load(config.runDir, log);
  const pace = createPace({
    clock,
    bytesPerSecond: config.scrubBytesPerSecond,
    filesPerSecond: config.removeFilesPerSecond,
  });
  const isStaged = (id: string): boolean => publications.isStaged(id);
  const spaceChanged = new Listeners<void>();
  const locks = new KeyedLock();
  const pools = await openPools(config, {
    backends,
    pace,
    giveWay: giveWayTo(locks, clock),
    clock,
    log,
    metrics,
    signal,
    isStaged,
    spaceChanged,
    keepsReserve: true,
    ...(config.poolRetryMs === undefined ? {} : { poolRetryMs: config.poolRetryMs }),
  });
  const topology = nodeSegments(labelValueOf(config.nodeName));
  const copies = new CopyJobs(clock);
  const environment = {
    pools,
    backends,
    publications,
    locks,
    holds: new Holds(),
    copies,
    released: new Listeners<string>(),
    spaceChanged,
    topology,
    clock,
    log,
  };
  const { nodeName: nodeId, maxVolumesPerNode } = config;
  const inline = config.inline ?? { maxBytes: 0n, stagingFolder: join(config.runDir, 'inline') };
  const node = new NodeService(environment, { nodeId, maxVolumesPerNode }, inline);
  const stopSweeping = keepSweeping(clock, (call) => node.sweepInline(call));
  return {
    pools,
    controller: new VolumeService(environment, { name: config.driverName, vendorVersion: version }),
    node,
    inventory: inventoryOf(environment),
    stop: async () => {
      await stopSweeping();
      await copies.stop();
      await pools.stop();
      await publications.close();
    },
  };
}
