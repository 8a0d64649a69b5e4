import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Backend } from '../../src/backends/backend.ts';
import type { PoolConfig } from '../../src/config/config.ts';
import { readMounts } from '../../src/host/mountinfo.ts';
import { unlimitedPace, type Pace } from '../../src/host/pace.ts';
import { statFileSystem, type FileSystemStatus } from '../../src/host/statfs.ts';
import { Listeners } from '../../src/model/listeners.ts';
import type { Clock } from '../../src/model/clock.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import type { CallContext, CreateVolumeRequest } from '../../src/model/csi-driver.ts';
import { silentLog, type Log } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { nodeSegments } from '../../src/model/topology.ts';
import type { VolumeCapability } from '../../src/model/volume.ts';
import { CopyJobs } from '../../src/volumes/copies/copy-jobs.ts';
import { Holds } from '../../src/volumes/copies/holds.ts';
import { KeyedLock } from '../../src/volumes/keyed-lock.ts';
import { hostTargets } from '../../src/volumes/published/node-environment.ts';
import { NodeService } from '../../src/volumes/node-service.ts';
import type { PoolServices } from '../../src/volumes/pools/open-pool.ts';
import { openPools, type Pools } from '../../src/volumes/pools/open-pools.ts';
import { Publications } from '../../src/volumes/published/publications.ts';
import type { VolumeEnvironment } from '../../src/volumes/volume-environment.ts';
import { VolumeService } from '../../src/volumes/volume-service.ts';
import { FakeBackend, FakeMounts } from './fake-backend.ts';

export const GiB = 1n << 30n;

/** One process's worth of storage rooms on the lab's folders. */
export interface LabProcess {
  readonly pools: Pools;
  readonly service: VolumeService;
  readonly node: NodeService;
  readonly environment: VolumeEnvironment;
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly pools?: readonly PoolConfig[];
  readonly backends?: readonly Backend[];
  readonly statFileSystem?: (path: string) => Promise<FileSystemStatus>;
  readonly reached?: NonNullable<VolumeEnvironment['reached']>;
  readonly pace?: Pace;
  readonly log?: Log;
  readonly clock?: Clock;
  /** unset: none, since a process that a test lets die keeps its descriptors */
  readonly lock?: NonNullable<PoolServices['lock']>;
  readonly maxVolumesPerNode?: number;
  /** unset: pods get no inline volumes */
  readonly inlineMaxBytes?: bigint;
  /** unset: pools keep nothing back */
  readonly keepsReserve?: boolean;
  /** whether the backends are real ones, that mount */
  readonly realMounts?: boolean;
}

/** Folders of a node under the temporary directory, and processes that come and go on them. */
export class VolumeLab {
  readonly root: string;
  readonly mounts = new FakeMounts();
  readonly directory = new FakeBackend('directory', this.mounts);
  readonly loopback = new FakeBackend('loopback', this.mounts);
  readonly #running = new Set<LabProcess>();

  private constructor(root: string) {
    this.root = root;
  }

  static async make(...poolNames: string[]): Promise<VolumeLab> {
    const lab = new VolumeLab(await mkdtemp(join(tmpdir(), 'loam-lab-')));
    for (const name of poolNames.length === 0 ? ['one'] : poolNames) await mkdir(lab.poolPath(name));
    await mkdir(join(lab.root, 'kubelet'));
    return lab;
  }

  poolPath(name = 'one'): string {
    return join(this.root, name);
  }

  poolConfig(name = 'one', extra: Partial<PoolConfig> = {}): PoolConfig {
    const path = this.poolPath(name);
    return { name, path, overcommitRatio: 1, reservedShare: 0, initialise: true, ...extra };
  }

  get stagingFolder(): string {
    return join(this.root, 'inline');
  }

  kubeletPath(...parts: string[]): string {
    return join(this.root, 'kubelet', ...parts);
  }

  async start(options: StartOptions = {}): Promise<LabProcess> {
    const stopping = new AbortController();
    const { log = silentLog, clock = systemClock } = options;
    const backends = options.backends ?? [this.directory, this.loopback];
    const publications = await Publications.load(
      join(this.root, 'run'),
      log,
      options.realMounts === true ? readMounts : this.mounts.read,
    );
    const spaceChanged = new Listeners<void>();
    const opening = openPools(
      { pools: options.pools ?? [this.poolConfig()], stateDir: join(this.root, 'state') },
      {
        backends,
        pace: options.pace ?? unlimitedPace,
        clock,
        log,
        metrics: noMetrics,
        signal: stopping.signal,
        isStaged: (id) => publications.isStaged(id),
        spaceChanged,
        statFileSystem: options.statFileSystem ?? roomy,
        lock: options.lock ?? (async () => true),
        keepsReserve: options.keepsReserve ?? false,
      },
    );
    const pools = await opening.catch(async (error: unknown) => {
      await publications.close();
      throw error;
    });
    const copies = new CopyJobs(clock);
    const environment: VolumeEnvironment = {
      pools,
      backends,
      publications,
      locks: new KeyedLock(),
      holds: new Holds(),
      copies,
      released: new Listeners<string>(),
      spaceChanged,
      topology: nodeSegments('node-a'),
      clock,
      log,
      ...(options.reached === undefined ? {} : { reached: options.reached }),
    };
    const process: LabProcess = {
      pools,
      environment,
      service: new VolumeService(environment, { name: 'loam.dev', vendorVersion: 'test' }),
      node: new NodeService(
        environment,
        { nodeId: 'node-a', maxVolumesPerNode: options.maxVolumesPerNode ?? 0 },
        { maxBytes: options.inlineMaxBytes ?? 0n, stagingFolder: this.stagingFolder },
        options.realMounts === true ? hostTargets : this.directory.targets,
      ),
      stop: async () => {
        this.#running.delete(process);
        stopping.abort(new Error('the test stops the process'));
        await copies.stop(200);
        await pools.stop();
        await publications.close();
      },
    };
    this.#running.add(process);
    return process;
  }

  /** Every name below a pool that is a volume's, or a link to one, in the order of the alphabet. */
  async namesIn(
    folder: 'volumes' | 'snapshots' | 'trash' | 'archive' | 'by-claim',
    pool = 'one',
  ): Promise<string[]> {
    return (await readdir(join(this.poolPath(pool), folder))).sort();
  }

  async readRecord(id: string, pool = 'one'): Promise<string> {
    return readFile(join(this.poolPath(pool), 'volumes', id, 'volume.json'), 'utf8');
  }

  async clear(): Promise<void> {
    await Promise.all([...this.#running].map((process) => process.stop()));
    await rm(this.root, { recursive: true, force: true });
  }
}

/** A disk of 100 GiB that nobody else uses, whatever the machine of the test has. */
const roomy = diskOf(100n * GiB);

export function diskOf(
  totalBytes: bigint,
  availableBytes = totalBytes,
): (path: string) => Promise<FileSystemStatus> {
  return async (path) => ({ ...(await statFileSystem(path)), totalBytes, availableBytes });
}

export const mountCapability: VolumeCapability = {
  accessMode: 'SINGLE_NODE_MULTI_WRITER',
  access: { kind: 'mount', fsType: '', mountFlags: [] },
};
export const blockCapability: VolumeCapability = {
  accessMode: 'SINGLE_NODE_MULTI_WRITER',
  access: { kind: 'block' },
};

/** A request for a directory of 1 GiB. */
export function createRequest(name: string, changes: Partial<CreateVolumeRequest> = {}): CreateVolumeRequest {
  return {
    name,
    capacityRange: { requiredBytes: GiB, limitBytes: 0n },
    capabilities: [mountCapability],
    parameters: { backend: 'directory' },
    ...changes,
  };
}

/** A call whose caller listens for so long. */
export function callFor(timeoutMs = 20_000): CallContext {
  return { signal: AbortSignal.timeout(timeoutMs), deadlineMs: Date.now() + timeoutMs };
}

/** Waits until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not so after ${timeoutMs} ms: ${condition.toString()}`);
    await delay(5);
  }
}

/** A promise that never settles: for the rest of the process, which died. */
export function dead(): Promise<never> {
  return new Promise(() => {});
}
