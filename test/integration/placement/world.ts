import { join } from 'node:path';
import { onTestFailed } from 'vitest';
import type { CsiStorageCapacity, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { type ClusterUser, volumeNameOf } from '../../support/cluster-user.ts';
import { ClusterNodes } from '../../support/cluster-nodes.ts';
import type { ControlPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { LoamProcess } from '../../support/loam-process.ts';
import type { LocalNode } from '../../support/local-node.ts';
import { LoopWorld } from '../../support/loop-world.ts';
import { ScratchPool } from '../../support/scratch-pool.ts';

const selectedNode = 'volume.kubernetes.io/selected-node';
let count = 0;

/** Several nodes with disks of their own, and the controllers that a test starts; Lease and capacity lie in a namespace of the test's. */
export class PlacementWorld implements AsyncDisposable {
  readonly world: LoopWorld;
  readonly cluster: ClusterNodes;
  readonly namespace: string;
  readonly disks = new Map<string, ScratchPool>();
  readonly controllers: LoamProcess[] = [];
  /** for the nodes that are started from now on */
  scoped = false;
  /** whether they look after snapshots */
  snapshots = false;
  readonly #prefix: string;

  private constructor(world: LoopWorld) {
    count += 1;
    this.world = world;
    this.#prefix = `p${count}`;
    this.namespace = `placement-${count}`;
    this.cluster = new ClusterNodes(world.plane.api, world.user.driverName);
    onTestFailed(() => console.log(this.controllers.map((each) => each.logTail(40)).join('\n---\n')));
  }

  static async open(plane: ControlPlane): Promise<PlacementWorld> {
    const world = new PlacementWorld(await LoopWorld.open(plane, 'process', { noNode: true }));
    await plane.api.create('Namespace', { metadata: { name: world.namespace } }, AbortSignal.timeout(5_000));
    return world;
  }

  get user(): ClusterUser {
    return this.world.user;
  }

  /** In the whole cluster: nodes of other tests have other names. */
  nodeName(letter: string): string {
    return `${this.#prefix}-${letter}`;
  }

  /** A node with a disk of its own. @param publishes whether it says what it has left */
  async addNode(letter: string, sizeMiB: number, publishes = true): Promise<LocalNode> {
    const name = this.nodeName(letter);
    this.disks.set(letter, ScratchPool.make('ext4', sizeMiB));
    await this.cluster.join(name);
    return this.startNode(letter, publishes);
  }

  /** Its process, once more. */
  startNode(letter: string, publishes = true): Promise<LocalNode> {
    const path = this.disks.get(letter)?.path ?? '';
    return this.world.addNode({
      nodeName: this.nodeName(letter),
      pools: [`p=${join(path, 'pool')},reserved=0%`],
      immediate: false,
      scoped: this.scoped,
      snapshots: this.snapshots,
      tombstoneNamespace: this.namespace,
      ...(publishes ? { capacityNamespace: this.namespace } : {}),
    });
  }

  /** What a node would publish. */
  async publish(letter: string, className: string, size: string): Promise<void> {
    const node = this.nodeName(letter);
    await this.world.plane.api.create(
      'CSIStorageCapacity',
      {
        metadata: {
          name: `${className}-${node}`,
          namespace: this.namespace,
          labels: { 'csi.storage.k8s.io/drivername': this.user.driverName, 'loam.dev/node': node },
        },
        storageClassName: className,
        nodeTopology: { matchLabels: { 'topology.loam.dev/node': node } },
        capacity: size,
        maximumVolumeSize: size,
      },
      AbortSignal.timeout(5_000),
    );
  }

  /** Until the nodes say what they have for a class. */
  async untilPublished(className: string, nodes: number): Promise<void> {
    await eventually(`${nodes} capacity objects of ${className}`, async () => {
      const { namespace } = this;
      const { items } = await this.world.plane.api.list(
        'CSIStorageCapacity',
        { namespace },
        AbortSignal.timeout(5_000),
      );
      const found = items.filter(({ storageClassName }) => storageClassName === className);
      return found.length === nodes;
    });
  }

  async capacityOf(className: string, letter: string): Promise<CsiStorageCapacity> {
    const labelSelector = `loam.dev/node=${this.nodeName(letter)}`;
    const list = { namespace: this.namespace, labelSelector };
    const { items } = await this.world.plane.api.list('CSIStorageCapacity', list, AbortSignal.timeout(5_000));
    const found = items.find(({ storageClassName }) => storageClassName === className);
    if (found === undefined) throw new Error(`no capacity object of ${className} on ${letter}`);
    return found;
  }

  /** What a node's object of the class says: capacity, largest size, reason. */
  async published(className: string, letter: string): Promise<readonly (string | undefined)[]> {
    const { capacity, maximumVolumeSize, metadata } = await this.capacityOf(className, letter);
    return [capacity, maximumVolumeSize, metadata.annotations?.['loam.dev/reason']];
  }

  async untilSays(className: string, letter: string, wanted: readonly (string | undefined)[]): Promise<void> {
    await eventually(
      `the capacity of ${className} on ${letter} to be ${JSON.stringify(wanted)}`,
      async () => {
        const found = JSON.stringify(await this.published(className, letter));
        if (found === JSON.stringify(wanted)) return true;
        throw new NotYet(found);
      },
    );
  }

  /** A process of the controller role, as its Deployment runs it. */
  async addController(name = 'controller', flags: readonly string[] = []): Promise<LoamProcess> {
    const controller = await LoamProcess.start({
      role: 'controller',
      folder: join(this.world.folder, name),
      pools: [],
      kubeconfigPath: this.world.plane.kubeconfigPath,
      flags: [`--driver-name=${this.user.driverName}`, `--namespace=${this.namespace}`, ...flags],
    });
    this.controllers.push(controller);
    return controller;
  }

  async untilLeads(controller: LoamProcess, timeoutMs = 40_000): Promise<void> {
    await eventually('the controller to lead', () => this.leads(controller), timeoutMs);
  }

  async leads(controller: LoamProcess): Promise<boolean> {
    return /^loam_controller_is_leader 1$/m.test(await controller.metrics());
  }

  async selectedNodeOf(claim: PersistentVolumeClaim): Promise<string | undefined> {
    const now = await this.user.find('PersistentVolumeClaim', claim);
    return now?.metadata.annotations?.[selectedNode];
  }

  /** All Bound, each to the one PV of its name, and no other PV of this driver there. */
  async untilAllBound(
    claims: readonly PersistentVolumeClaim[],
    timeoutMs = 60_000,
  ): Promise<ReadonlyMap<string, number>> {
    const wanted = claims.map(volumeNameOf).toSorted();
    return eventually(
      `${claims.length} claims to be Bound`,
      async () => {
        const volumes = await this.user.volumes();
        const bound = volumes.filter(({ status }) => status?.phase === 'Bound');
        if (bound.length < claims.length) throw new NotYet(`${bound.length} Bound`);
        const names = volumes.map(({ metadata }) => metadata.name).toSorted();
        if (JSON.stringify(names) !== JSON.stringify(wanted)) throw new Error(`PVs ${names.join()}`);
        const counts = new Map<string, number>();
        for (const { metadata } of volumes) {
          const node = metadata.labels?.['loam.dev/node'] ?? '';
          counts.set(node, (counts.get(node) ?? 0) + 1);
        }
        return counts;
      },
      timeoutMs,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const controller of this.controllers) await controller.kill();
    await this.world[Symbol.asyncDispose]();
    for (const disk of this.disks.values()) await disk.remove();
    await this.cluster.leaveAll();
  }
}
