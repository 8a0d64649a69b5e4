import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFailed } from 'vitest';
import type { PersistentVolume } from '../../src/kube/objects.ts';
import { ClusterUser } from './cluster-user.ts';
import type { ControlPlane } from './control-plane.ts';
import { clearLeftovers } from './host-leftovers.ts';
import { LocalNode, type AdapterName, type LocalNodeOptions } from './local-node.ts';
import { PodMount } from './pod-mount.ts';
import { assertPoolEmpty } from './pool-leftovers.ts';

export const isRoot = process.geteuid?.() === 0;
/** For the names of suites: a pool whose volumes could not be mounted serves none. */
export const mountsNeedRoot = isRoot ? '' : ' (skipped: needs root)';

let count = 0;

/** One test's nodes and user, under a driver name of its own so that tests on one control plane do not meet. */
export class LoopWorld implements AsyncDisposable {
  readonly plane: ControlPlane;
  readonly folder: string;
  readonly user: ClusterUser;
  readonly nodes: LocalNode[] = [];
  readonly #adapter: AdapterName;

  private constructor(plane: ControlPlane, adapter: AdapterName, folder: string) {
    this.plane = plane;
    this.folder = folder;
    this.#adapter = adapter;
    count += 1;
    this.user = new ClusterUser(plane.api, `t${count}.${adapter}.loam.test`);
    onTestFailed(() => {
      const lines = this.nodes.flatMap(({ nodeName, logLines }) =>
        logLines.map((line) => `${nodeName} ${line}`),
      );
      console.log(lines.slice(-80).join('\n'));
    });
  }

  /** With node-a up, unless `noNode`. */
  static async open(
    plane: ControlPlane,
    adapter: AdapterName,
    options: Partial<LocalNodeOptions> & { readonly noNode?: boolean } = {},
  ): Promise<LoopWorld> {
    const world = new LoopWorld(plane, adapter, mkdtempSync(join(tmpdir(), 'loam-loop-')));
    try {
      if (options.noNode !== true) await world.addNode(options);
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  async addNode(options: Partial<LocalNodeOptions> = {}): Promise<LocalNode> {
    const { plane, folder, user } = this;
    const node = await LocalNode.start({
      plane,
      folder,
      driverName: user.driverName,
      adapter: this.#adapter,
      ...options,
    });
    this.nodes.push(node);
    return node;
  }

  get node(): LocalNode {
    const node = this.nodes.at(-1);
    if (node === undefined) throw new Error('the world has no node yet');
    return node;
  }

  podWith(volume: PersistentVolume, podUid = 'pod-1'): PodMount {
    return new PodMount(this.node.kubelet, volume, join(this.folder, 'kubelet'), podUid);
  }

  /** The node has heard of everything that happened to claims until now: a claim that is served comes after it in the same watch. */
  async untilHeard(className: string, node = 'node-a'): Promise<void> {
    const marker = await this.user.createClaim({ className, node });
    // a PV whose claim goes before the binder has bound the two is Released only when it looks at everything again
    await this.user.untilBound(marker);
    await this.user.deleteClaimAndVolume(marker);
  }

  /** Nothing of any volume is left: no PV of this driver, nothing in a pool, no mount, no loop device. */
  async assertNothingLeft(): Promise<void> {
    for (const volume of await this.user.volumes()) await this.user.untilGone('PersistentVolume', volume);
    for (const node of this.nodes) for (const { path } of node.pools) await assertPoolEmpty(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node.stop();
    clearLeftovers(this.folder);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
