import type { Backend } from '../backends/backend.ts';
import { DirectoryBackend } from '../backends/directory/backend.ts';
import { LoopbackBackend } from '../backends/loopback/backend.ts';
import type { Config } from '../config/config.ts';
import { createPace } from '../host/pace.ts';
import type { Clock } from '../model/clock.ts';
import { Listeners } from '../model/listeners.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { nodeSegments } from '../model/topology.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { KeyedLock } from '../volumes/keyed-lock.ts';
import { NodeService } from '../volumes/node-service.ts';
import { openPools, type Pools } from '../volumes/open-pools.ts';
import { Publications } from '../volumes/publications.ts';
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
>;

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
    new DirectoryBackend({ poolPaths }),
  ];
  const publications = await Publications.load(config.runDir, log);
  const pace = createPace({
    clock,
    bytesPerSecond: config.scrubBytesPerSecond,
    filesPerSecond: config.removeFilesPerSecond,
  });
  const isStaged = (id: string): boolean => publications.isStaged(id);
  const pools = await openPools(config, { backends, pace, clock, log, metrics, signal, isStaged });
  const topology = nodeSegments(labelValueOf(config.nodeName));
  const environment = {
    pools,
    backends,
    publications,
    locks: new KeyedLock(),
    released: new Listeners<string>(),
    spaceChanged: new Listeners<void>(),
    topology,
    clock,
    log,
  };
  return {
    pools,
    controller: new VolumeService(environment, { name: config.driverName, vendorVersion: version }),
    node: new NodeService(environment, {
      nodeId: config.nodeName,
      maxVolumesPerNode: config.maxVolumesPerNode,
    }),
    stop: async () => {
      await pools.stop();
      await publications.close();
    },
  };
}
