import { isNotFound } from '../../src/kube/api-error.ts';
import type { KubeApi } from '../../src/kube/kube-api.ts';
import type { Node } from '../../src/kube/objects.ts';

/** The Node and CSINode objects that kubelet and its friends write; here no kubelet runs. */
export class ClusterNodes {
  readonly #api: KubeApi;
  readonly #driverName: string;
  readonly #names = new Set<string>();

  constructor(api: KubeApi, driverName: string) {
    this.#api = api;
    this.#driverName = driverName;
  }

  /** A node that is ready, with the driver registered. */
  async join(name: string): Promise<Node> {
    this.#names.add(name);
    const labels = { 'topology.loam.dev/node': name, 'kubernetes.io/hostname': name };
    await this.#api.create('Node', { metadata: { name, labels } }, soon());
    await this.setReady(name, true);
    // the API server taints what is new; taking that off is the node lifecycle controller's
    const untainted = { spec: { taints: null } };
    const node = await this.#api.patch('Node', { name }, { type: 'merge', body: untainted }, soon());
    await this.#api.create('CSINode', { metadata: { name }, spec: { drivers: this.#drivers(name) } }, soon());
    return node;
  }

  async setReady(name: string, isReady: boolean, since = new Date()): Promise<void> {
    const condition = {
      type: 'Ready',
      status: isReady ? 'True' : 'Unknown',
      lastTransitionTime: `${since.toISOString().slice(0, 19)}Z`,
      lastHeartbeatTime: `${since.toISOString().slice(0, 19)}Z`,
      reason: 'Test',
      message: 'as a test says',
    };
    const body = { status: { conditions: [condition] } };
    await this.#api.patch('Node', { name }, { type: 'merge', body }, soon(), 'status');
  }

  async setDriver(name: string, isThere: boolean): Promise<void> {
    const body = { spec: { drivers: isThere ? this.#drivers(name) : [] } };
    await this.#api.patch('CSINode', { name }, { type: 'merge', body }, soon());
  }

  async leave(name: string): Promise<void> {
    this.#names.delete(name);
    for (const kind of ['Node', 'CSINode'] as const) {
      try {
        await this.#api.remove(kind, { name }, soon());
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
  }

  async leaveAll(): Promise<void> {
    for (const name of this.#names) await this.leave(name);
  }

  #drivers(name: string) {
    return [{ name: this.#driverName, nodeID: name, topologyKeys: ['topology.loam.dev/node'] }];
  }
}

function soon(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
