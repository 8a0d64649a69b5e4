import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PoolConfig } from '../../src/config/config.ts';
import { parsePoolFlag } from '../../src/config/pool-config.ts';
import { connectCsiDriver } from '../../src/csi/client.ts';
import { connectNodeDriver, type RemoteNodeDriver } from '../../src/csi/node-client.ts';
import { startCsiServer } from '../../src/csi/server.ts';
import { createKubeApi, loadKubeAccess, plainKubeAccess } from '../../src/kube/client.ts';
import type { Log } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import { labelValueOf } from '../../src/model/topology-value.ts';
import { Provisioner } from '../../src/provisioner/provisioner.ts';
import type { ProvisionerSettings } from '../../src/provisioner/provisioner-settings.ts';
import { Closers } from '../../src/roles/closers.ts';
import { startVolumeStack, type VolumeStack } from '../../src/roles/volume-stack.ts';
import type { ControlPlane } from './control-plane.ts';
import { GatedDriver } from './gated-driver.ts';

export const adapterNames = ['process', 'socket'] as const;
export type AdapterName = (typeof adapterNames)[number];

export interface LocalNodeOptions {
  readonly plane: Pick<ControlPlane, 'kubeconfigPath'>;
  /** sockets and state go below it, and the pools that are not named by path */
  readonly folder: string;
  readonly driverName: string;
  readonly adapter: AdapterName;
  readonly nodeName?: string;
  /** as `--pool` takes them; unless told, a folder each for `poolNames` */
  readonly pools?: readonly string[];
  /** `p` unless told */
  readonly poolNames?: readonly string[];
  /** plain http address of a proxy before the API server */
  readonly apiUrl?: string;
  readonly early?: boolean;
  readonly writePhase?: boolean;
  readonly immediate?: boolean;
  readonly scoped?: boolean;
  /** look after VolumeSnapshotContents */
  readonly snapshots?: boolean;
  /** unset: no cap */
  readonly retainedPerNamespaceBytes?: bigint;
  /** unset: no capacity is published */
  readonly capacityNamespace?: string;
  /** unset: what was let go without this node is nobody's business */
  readonly tombstoneNamespace?: string;
  /** for tests that would only wait otherwise */
  readonly waits?: Pick<
    ProvisionerSettings,
    'offerWithinMs' | 'discoverEveryMs' | 'discoverSettledMs' | 'missingPoolsEveryMs'
  >;
  /** how often a pool that is not there is looked for; unset: as in the product */
  readonly poolRetryMs?: number;
}

/** One node's driver and provisioner in the test's own process, composed as `loam node` is, with a gate before the driver. */
export class LocalNode implements AsyncDisposable {
  readonly nodeName: string;
  /** the driver's Node service, over its socket as kubelet has it */
  readonly kubelet: RemoteNodeDriver;
  readonly driver: GatedDriver;
  readonly pools: readonly PoolConfig[];
  readonly logLines: string[];
  readonly provisioner: Provisioner;
  readonly stack: VolumeStack;
  readonly #closers: Closers;
  readonly #stopping: AbortController;

  private constructor(
    parts: Pick<
      LocalNode,
      'nodeName' | 'kubelet' | 'driver' | 'pools' | 'logLines' | 'provisioner' | 'stack'
    >,
    closers: Closers,
    stopping: AbortController,
  ) {
    this.nodeName = parts.nodeName;
    this.kubelet = parts.kubelet;
    this.driver = parts.driver;
    this.pools = parts.pools;
    this.logLines = parts.logLines;
    this.provisioner = parts.provisioner;
    this.stack = parts.stack;
    this.#closers = closers;
    this.#stopping = stopping;
  }

  /** Resolves when the claims are watched. */
  static async start(options: LocalNodeOptions): Promise<LocalNode> {
    const { plane, folder, driverName, adapter, nodeName = 'node-a' } = options;
    const ownPath = join(folder, nodeName);
    const { poolNames = ['p'] } = options;
    const pools = (options.pools ?? poolNames.map((name) => `${name}=${join(ownPath, name)}`)).map(
      parsePoolFlag,
    );
    for (const { path } of pools) await mkdir(path, { recursive: true });
    await mkdir(ownPath, { recursive: true });
    const logLines: string[] = [];
    const log = keptLog(logLines, {});
    const stopping = new AbortController();
    const closers = new Closers(log);
    const context = { clock: systemClock, log, metrics: noMetrics, signal: stopping.signal };
    try {
      const config = {
        driverName,
        nodeName,
        pools,
        runDir: join(ownPath, 'run'),
        stateDir: join(ownPath, 'state'),
        scrubBytesPerSecond: 0n,
        removeFilesPerSecond: 0,
        maxVolumesPerNode: 0,
        ...(options.poolRetryMs === undefined ? {} : { poolRetryMs: options.poolRetryMs }),
      };
      const stack = await startVolumeStack(config, 'test', context);
      closers.add('volumes', () => stack.stop());
      const socketPath = join(ownPath, 'csi.sock');
      const identity = { name: driverName, vendorVersion: 'test' };
      const server = await startCsiServer({
        ...context,
        socketPath,
        controller: stack.controller,
        node: stack.node,
        identity,
      });
      closers.add('CSI server', () => server.close());
      const kubelet = connectNodeDriver(socketPath);
      closers.add('kubelet', () => Promise.resolve(kubelet.close()));
      const remote = connectCsiDriver(socketPath);
      closers.add('CSI client', () => Promise.resolve(remote.close()));
      const driver = new GatedDriver(adapter === 'socket' ? remote : stack.controller);
      const access =
        options.apiUrl === undefined ? loadKubeAccess(plane.kubeconfigPath) : plainKubeAccess(options.apiUrl);
      const api = createKubeApi(access, { metrics: noMetrics, userAgent: `loam-test-${nodeName}` });
      closers.add('API client', () => api.close());
      const provisioner = new Provisioner({
        ...context,
        api,
        driver,
        ledger: stack.controller,
        conditions: stack.controller,
        discovery: stack.controller,
        settings: {
          driverName,
          nodeName,
          topologyValue: labelValueOf(nodeName),
          early: options.early ?? true,
          writePhase: options.writePhase ?? true,
          immediateOnThisNode: options.immediate ?? true,
          scoped: options.scoped ?? false,
          snapshots: options.snapshots ?? false,
          expansion: true,
          modification: true,
          retainedPerNamespaceBytes: options.retainedPerNamespaceBytes ?? 0n,
          ...(options.capacityNamespace === undefined
            ? {}
            : { capacityNamespace: options.capacityNamespace }),
          ...(options.tombstoneNamespace === undefined
            ? {}
            : { tombstoneNamespace: options.tombstoneNamespace }),
          ...options.waits,
          workers: 32,
          timeoutMs: 10_000,
        },
      });
      closers.add('provisioner', () => provisioner.stop());
      await provisioner.start(stopping.signal);
      const parts = { nodeName, kubelet, driver, pools, logLines, provisioner, stack };
      return new LocalNode(parts, closers, stopping);
    } catch (error) {
      stopping.abort();
      await closers.close();
      throw error;
    }
  }

  get poolPath(): string {
    return this.pools[0]?.path ?? '';
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the test is over'));
    await this.#closers.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Lines for people who look at a failed test. */
function keptLog(lines: string[], bound: object): Log {
  const keep = (level: string) => (facts: object, message: string) => {
    const asText = (_: string, value: unknown): unknown =>
      typeof value === 'bigint' ? String(value) : value instanceof Error ? value.message : value;
    lines.push(
      `${new Date().toISOString()} ${level} ${message} ${JSON.stringify({ ...bound, ...facts }, asText)}`,
    );
  };
  return {
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    child: (facts) => keptLog(lines, { ...bound, ...facts }),
  };
}
