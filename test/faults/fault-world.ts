import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { connectCsiDriver } from '../../src/csi/client.ts';
import { connectNodeDriver, type RemoteNodeDriver } from '../../src/csi/node-client.ts';
import { OperatorClient } from '../../src/operator/operator-client.ts';
import { ClusterUser } from '../support/cluster-user.ts';
import { EmbeddedPlane } from '../support/control-plane.ts';
import { eventually, NotYet } from '../support/eventually.ts';
import { clearLeftovers } from '../support/host-leftovers.ts';
import { ScratchPool } from '../support/scratch-pool.ts';
import { patienceMs } from './campaign.ts';
import { CommandFaults } from './command-faults.ts';
import { type Kill, SupervisedNode } from './supervised-node.ts';

export const backendNames = ['directory', 'loopback', 'btrfs'] as const;
export type BackendUnderTest = (typeof backendNames)[number];

/** Parameters that each backend's classes have. */
export const parametersOf: Readonly<Record<BackendUnderTest, Readonly<Record<string, string>>>> = {
  directory: { backend: 'directory', limit: 'advisory', consistency: 'accept' },
  loopback: { backend: 'loopback', consistency: 'accept' },
  btrfs: { backend: 'btrfs', limit: 'advisory' },
};

interface WorldOptions {
  readonly backend: BackendUnderTest;
  readonly kills?: readonly Kill[];
  /** where compiled code is kept */
  readonly cachePath: string;
}

let count = 0;

/** A node with a disk of its own under a control plane that outlives it, and every way to make them fail. */
export class FaultWorld implements AsyncDisposable {
  readonly backend: BackendUnderTest;
  readonly plane: EmbeddedPlane;
  readonly pool: ScratchPool;
  readonly node: SupervisedNode;
  readonly user: ClusterUser;
  readonly kubelet: RemoteNodeDriver;
  readonly commands: CommandFaults;
  readonly operator: OperatorClient;
  readonly snapshotClass = 'snapshots';

  private constructor(options: WorldOptions, plane: EmbeddedPlane, pool: ScratchPool) {
    count += 1;
    this.backend = options.backend;
    this.plane = plane;
    this.pool = pool;
    const folder = join(pool.basePath, 'node');
    mkdirSync(folder);
    this.commands = new CommandFaults(join(pool.basePath, 'commands'));
    this.user = new ClusterUser(plane.api, `f${count}.faults.test`);
    this.node = SupervisedNode.start({
      folder,
      poolPath: pool.path,
      kubeconfigPath: plane.kubeconfigPath,
      driverName: this.user.driverName,
      commandsPath: this.commands.path,
      cachePath: options.cachePath,
      kills: options.kills ?? [],
    });
    this.operator = new OperatorClient(join(folder, 'run/operator.sock'));
    this.kubelet = connectNodeDriver(this.node.csiSocketPath);
  }

  static async open(options: WorldOptions): Promise<FaultWorld> {
    const plane = await EmbeddedPlane.start();
    try {
      const pool = ScratchPool.make(options.backend === 'btrfs' ? 'btrfs' : 'xfs', 1024);
      const world = new FaultWorld(options, plane, pool);
      const body = {
        metadata: { name: world.snapshotClass },
        driver: world.user.driverName,
        deletionPolicy: 'Delete',
      };
      await plane.api.create(
        'VolumeSnapshotClass',
        { ...body, deletionPolicy: 'Delete', parameters: { consistency: 'accept' } },
        AbortSignal.timeout(10_000),
      );
      await world.user.createClass({
        name: 'found',
        parameters: parametersOf.directory,
        reclaimPolicy: 'Retain',
        allowVolumeExpansion: true,
      });
      return world;
    } catch (error) {
      await plane[Symbol.asyncDispose]();
      throw error;
    }
  }

  get poolPath(): string {
    return this.pool.path;
  }

  get kubeletPath(): string {
    return join(this.pool.basePath, 'kubelet');
  }

  /** Faults are over: nothing fails any more that was not broken meanwhile. */
  async heal(): Promise<void> {
    this.node.spare();
    this.commands.clear();
    await this.node.failDisk(0, 0);
    this.plane.embedded.faults.clear();
    await this.plane.bringBack();
  }

  async untilUp(timeoutMs: number = patienceMs): Promise<void> {
    await eventually('the node’s process to be ready', () => this.node.isReady(), timeoutMs);
  }

  /** What the pool could still give to a volume. */
  async freeBytes(): Promise<bigint> {
    const driver = connectCsiDriver(this.node.csiSocketPath);
    const parameters = parametersOf[this.backend];
    try {
      const { bytes } = await eventually('the pool’s room', async () => {
        const call = { signal: AbortSignal.timeout(10_000), deadlineMs: Date.now() + 10_000 };
        const answer = await driver
          .getCapacity({ capabilities: [], parameters }, call)
          .catch((error: unknown) => {
            throw new NotYet(String(error));
          });
        return { bytes: answer.availableBytes };
      });
      return bytes;
    } finally {
      driver.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kubelet.close();
    await this.node[Symbol.asyncDispose]();
    await this.plane[Symbol.asyncDispose]();
    clearLeftovers(join(this.pool.basePath, 'kubelet'));
    await this.pool.remove();
  }
}
