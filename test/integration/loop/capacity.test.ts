import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from 'vitest';
import { createKubeApi, loadKubeAccess } from '../../../src/kube/client.ts';
import { isNotFound } from '../../../src/kube/api-error.ts';
import type { KubeApi } from '../../../src/kube/kube-api.ts';
import type { CsiStorageCapacity, KubeEvent, Node } from '../../../src/kube/objects.ts';
import { noMetrics } from '../../../src/model/metrics.ts';
import { parseQuantity } from '../../../src/model/quantity.ts';
import { ClusterUser } from '../../support/cluster-user.ts';
import { EmbeddedPlane } from '../../support/control-plane.ts';
import { eventually, NotYet } from '../../support/eventually.ts';
import { buildGoTool } from '../../support/go-tools.ts';
import { adapterNames, LocalNode, type LocalNodeOptions } from '../../support/local-node.ts';
import { isRoot, LoopWorld, mountsNeedRoot } from '../../support/loop-world.ts';
import { RealApiServer } from '../../support/real-api-server.ts';
import { ScratchPool, whyNoScratchPool } from '../../support/scratch-pool.ts';

const namespace = 'default';
const soon = (): AbortSignal => AbortSignal.timeout(20_000);
/** the garbage collector, for what a Node owns; the others, for claims and their ends */
const controllers = [
  'garbage-collector-controller',
  'persistentvolume-binder-controller',
  'persistentvolumeclaim-protection-controller',
  'persistentvolume-protection-controller',
].join(',');

/** Node objects, nodes' processes on disks of their own, and what the scheduler would read of them. */
class CapacityWorld implements AsyncDisposable {
  readonly user: ClusterUser;
  readonly #api: KubeApi;
  readonly #kubeconfigPath: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'loam-capacity-'));
  readonly #disks: ScratchPool[] = [];
  readonly #running = new Set<LocalNode>();

  constructor(api: KubeApi, kubeconfigPath: string, driverName: string) {
    this.#api = api;
    this.#kubeconfigPath = kubeconfigPath;
    this.user = new ClusterUser(api, driverName);
    onTestFailed(() => {
      for (const { nodeName, logLines } of this.#running)
        console.log(logLines.map((line) => `${nodeName} ${line}`).join('\n'));
    });
  }

  disk(sizeMiB = 512): ScratchPool {
    const disk = ScratchPool.make('ext4', sizeMiB);
    this.#disks.push(disk);
    return disk;
  }

  /** A Node as its kubelet keeps it. */
  async addNode(name: string): Promise<Node> {
    const labels = { 'kubernetes.io/hostname': name, 'topology.loam.dev/node': name };
    const node = await this.#api.create('Node', { metadata: { name, labels } }, soon());
    const status = {
      allocatable: { cpu: '4', memory: '8Gi', pods: '110' },
      capacity: { cpu: '4', memory: '8Gi', pods: '110' },
      conditions: [{ type: 'Ready', status: 'True' }],
    };
    await this.#api.patch('Node', { name }, { type: 'merge', body: { status } }, soon(), 'status');
    // every new Node is tainted as not ready
    await this.#api.patch('Node', { name }, { type: 'merge', body: { spec: { taints: null } } }, soon());
    return node;
  }

  async start(disk: ScratchPool, options: Partial<LocalNodeOptions> = {}): Promise<LocalNode> {
    const node = await LocalNode.start({
      plane: { kubeconfigPath: this.#kubeconfigPath },
      folder: this.#folder,
      driverName: this.user.driverName,
      adapter: 'process',
      pools: [`p=${disk.path}`],
      capacityNamespace: namespace,
      immediate: false,
      ...options,
    });
    this.#running.add(node);
    return node;
  }

  async stop(node: LocalNode): Promise<void> {
    this.#running.delete(node);
    await node.stop();
  }

  async objects(nodeName = 'node-a'): Promise<readonly CsiStorageCapacity[]> {
    const labelSelector = `csi.storage.k8s.io/drivername=${this.user.driverName},loam.dev/node=${nodeName}`;
    return (await this.#api.list('CSIStorageCapacity', { namespace, labelSelector }, soon())).items;
  }

  /** Waits until the class's object fulfils a condition. */
  until(
    className: string,
    what: string,
    isSo: (object: CsiStorageCapacity, largestBytes: bigint) => boolean,
    { nodeName = 'node-a', timeoutMs = 30_000 } = {},
  ): Promise<CsiStorageCapacity> {
    return eventually(
      `capacity of ${className} on ${nodeName}: ${what}`,
      async () => {
        const found = (await this.objects(nodeName)).find((object) => object.storageClassName === className);
        if (found !== undefined && isSo(found, parseQuantity(found.maximumVolumeSize ?? '0'))) return found;
        throw new NotYet(JSON.stringify(found));
      },
      timeoutMs,
    );
  }

  untilThere(className: string, nodeName = 'node-a'): Promise<CsiStorageCapacity> {
    return this.until(className, 'room', (_object, bytes) => bytes > 0n, { nodeName });
  }

  untilNone(): Promise<true> {
    return eventually(
      'no capacity object',
      async () => {
        const found = await this.objects();
        if (found.length === 0) return true;
        throw new NotYet(JSON.stringify(found));
      },
      30_000,
    );
  }

  untilNodeEvent(node: Node, reason: string): Promise<KubeEvent> {
    return this.user.untilEvent(node, reason, 'pool p at', 30_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#running) await node.stop();
    for (const disk of this.#disks) await disk.remove();
    rmSync(this.#folder, { recursive: true, force: true });
    for (const kind of ['Node', 'StorageClass', 'CSIStorageCapacity'] as const) {
      for (const { metadata } of (await this.#api.list(kind, {}, soon())).items) {
        await this.#api.remove(kind, metadata, soon()).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      }
    }
  }
}

const why = whyNoScratchPool('ext4');

describe.skipIf(why !== '')(`capacity, on the real control plane${why}`, () => {
  let server: RealApiServer;
  let api: KubeApi & { close(): Promise<void> };
  let count = 0;
  const open = (): CapacityWorld => {
    count += 1;
    return new CapacityWorld(api, server.kubeconfigPath, `c${count}.capacity.test`);
  };
  beforeAll(async () => {
    server = await RealApiServer.start();
    await server.startControllerManager({ apiQps: 2000, controllers, binderSyncPeriod: '1s' });
    api = createKubeApi(loadKubeAccess(server.kubeconfigPath), {
      metrics: noMetrics,
      userAgent: 'loam-test',
    });
  });
  afterAll(async () => {
    await api?.close();
    await server?.stop();
  });

  it.each(adapterNames)(
    'changes within a second of a volume, made or deleted through the %s adapter',
    async (adapter) => {
      await using world = open();
      const { user } = world;
      const node = await world.addNode('node-a');
      const className = await user.createClass();
      await world.start(world.disk(), { adapter });
      const before = await world.untilThere(className);
      expect(before).toMatchObject({
        metadata: {
          name: expect.stringMatching(/^csisc-node-a-[0-9a-f]{32}$/) as string,
          labels: { 'csi.storage.k8s.io/managed-by': 'loam' },
          ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: node.metadata.uid }],
        },
        nodeTopology: { matchLabels: { 'topology.loam.dev/node': 'node-a' } },
      });
      expect(before.metadata.ownerReferences?.[0]).not.toHaveProperty('controller');
      const beforeBytes = parseQuantity(before.maximumVolumeSize ?? '0');

      const startMs = performance.now();
      const claim = await user.createClaim({ className, node: 'node-a', size: '128Mi' });
      // what the file system keeps for itself hides the first of it
      const promised = 64n << 20n;
      await world.until(className, 'much less', (_object, bytes) => bytes <= beforeBytes - promised, {
        timeoutMs: 5_000,
      });
      const madeMs = performance.now() - startMs;
      await user.untilBound(claim);
      await user.deleteClaimAndVolume(claim);
      const goneMs = performance.now();
      await world.until(className, 'as before', (_object, bytes) => bytes > beforeBytes - promised, {
        timeoutMs: 5_000,
      });
      const freedMs = performance.now() - goneMs;
      console.log(
        `${adapter}: capacity followed a claim after ${madeMs.toFixed(0)} ms, its end after ${freedMs.toFixed(0)} ms`,
      );
      expect(madeMs).toBeLessThan(1_500);
      expect(freedMs).toBeLessThan(1_500);
    },
  );

  it('goes with the Node, comes with a new one under its uid, and goes with the class', async () => {
    await using world = open();
    const first = await world.addNode('node-a');
    const className = await world.user.createClass();
    await world.start(world.disk());
    await world.untilThere(className);
    await world.user.delete('Node', first);
    await world.untilNone();
    const second = await world.addNode('node-a');
    const made = await world.untilThere(className);
    expect(made.metadata.ownerReferences?.[0]?.uid).toBe(second.metadata.uid);
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
    await world.user.delete('StorageClass', { metadata: { name: className } });
    await world.untilNone();
  });

  it('is made again when somebody deletes it', async () => {
    await using world = open();
    await world.addNode('node-a');
    const className = await world.user.createClass();
    await world.start(world.disk());
    const before = await world.untilThere(className);
    await world.user.delete('CSIStorageCapacity', before);
    const after = await world.until(
      className,
      'another',
      ({ metadata }) => metadata.uid !== before.metadata.uid,
    );
    expect(after.metadata.name).toBe(before.metadata.name);
  });

  it('is nothing, with its reason and an event on the Node, while the pool is away, and comes back with it', async () => {
    await using world = open();
    const node = await world.addNode('node-a');
    const className = await world.user.createClass();
    const disk = world.disk();
    await world.start(disk, { poolRetryMs: 500 });
    await world.untilThere(className);
    disk.unmountLazily();
    const { metadata } = await world.until(className, 'nothing', (_object, bytes) => bytes === 0n);
    expect(metadata.annotations?.['loam.dev/reason']).toMatch(/^pool p: .*not mounted/);
    const lost = await world.untilNodeEvent(node, 'PoolUnavailable');
    expect(lost).toMatchObject({ type: 'Warning', message: expect.stringContaining(disk.path) as string });
    disk.mount();
    const back = await world.untilThere(className);
    expect(back.metadata.annotations ?? {}).not.toHaveProperty('loam.dev/reason');
    expect(await world.untilNodeEvent(node, 'PoolAvailable')).toMatchObject({ type: 'Normal' });
  });

  it('stays through a restart of the process, and is not written again where nothing changed', async () => {
    await using world = open();
    await world.addNode('node-a');
    const { user } = world;
    const className = await user.createClass();
    const disk = world.disk();
    const first = await world.start(disk);
    const before = await world.untilThere(className);
    await world.stop(first);
    expect(await world.objects()).toEqual([before]);
    await world.start(disk);
    // made in the same round that looks at the other
    const another = await user.createClass();
    await world.untilThere(another);
    const after = await world.until(className, 'there', () => true);
    expect(after).toEqual(before);
  });

  it('sends a pod whose claim is too big for one node to the other, and tells of a wrong parameter on the claim', async () => {
    await using world = open();
    const { user } = world;
    const kubectl = await buildGoTool('kubectl');
    const driver = {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name: user.driverName },
      spec: { attachRequired: false, storageCapacity: true },
    };
    execFileSync(kubectl, [`--kubeconfig=${server.kubeconfigPath}`, 'apply', '-f', '-'], {
      input: JSON.stringify(driver),
    });
    await server.startScheduler();
    for (const name of ['node-a', 'node-b']) await world.addNode(name);
    const className = await user.createClass();
    const typo = await user.createClass({ parameters: { limits: 'advisory' } });
    await world.start(world.disk(256));
    await world.start(world.disk(1024), { nodeName: 'node-b' });
    const small = await world.untilThere(className);
    const big = await world.untilThere(className, 'node-b');
    const size = parseQuantity(small.maximumVolumeSize ?? '0') + (64n << 20n);
    expect(size).toBeLessThan(parseQuantity(big.maximumVolumeSize ?? '0'));

    const start = async (name: string, claimWish: { className: string; size: string }): Promise<void> => {
      const claim = await user.createClaim({ ...claimWish, name });
      const spec = {
        containers: [{ name: 'c', image: 'none' }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: claim.metadata.name } }],
      };
      await api.create('Pod', { metadata: { name, namespace }, spec }, soon());
    };
    const nodeOf = (name: string): Promise<string> =>
      eventually(
        `a node for pod ${name}`,
        async () => {
          const pod = await api.get('Pod', { namespace, name }, soon());
          if (pod.spec?.nodeName !== undefined) return pod.spec.nodeName;
          throw new NotYet(JSON.stringify(pod.status));
        },
        30_000,
      );
    await start('big', { className, size: String(size) });
    expect(await nodeOf('big')).toBe('node-b');
    await start('wrong', { className: typo, size: '16Mi' });
    const wrong = { metadata: { name: 'wrong', namespace } };
    const claim = await api.get('PersistentVolumeClaim', wrong.metadata, soon());
    await user.untilEvent(claim, 'ProvisioningFailed', 'limits', 30_000);
    for (const name of ['big', 'wrong']) {
      await api.remove('Pod', { namespace, name }, soon());
      await user.delete('PersistentVolumeClaim', { metadata: { name, namespace } });
    }
  });
});

describe.skipIf(!isRoot)(`capacity, on the embedded control plane${mountsNeedRoot}`, () => {
  it('comes and goes with a class', async () => {
    await using plane = await EmbeddedPlane.start();
    await using world = await LoopWorld.open(plane, 'process', { capacityNamespace: namespace });
    const { user } = world;
    const objects = async (): Promise<readonly CsiStorageCapacity[]> =>
      (await plane.api.list('CSIStorageCapacity', { namespace }, soon())).items;
    const className = await user.createClass();
    const made = await eventually('a capacity object', async () => (await objects())[0]);
    const node = await plane.api.get('Node', { name: 'node-a' }, soon());
    expect(made).toMatchObject({
      metadata: { ownerReferences: [{ kind: 'Node', name: 'node-a', uid: node.metadata.uid }] },
      storageClassName: className,
    });
    await user.delete('StorageClass', { metadata: { name: className } });
    await eventually('no capacity object', async () => (await objects()).length === 0);
  });
});
