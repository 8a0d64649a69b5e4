import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import type { KindName, Kinds } from '../../src/kube/kinds.ts';
import type { KubeApi, ObjectKey } from '../../src/kube/kube-api.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { eventually } from './eventually.ts';
import { Kubectl } from './node-account.ts';
import { aCapacityOf, aClaimFor, anEventBy, aVolumeOn, loamNamespace } from './node-objects.ts';
import { RealApiServer } from './real-api-server.ts';
import { installSnapshotKinds } from './snapshot-controller.ts';

type Api = KubeApi & { close(): Promise<void> };
/** A write, by whomever. */
export type Write = (api: KubeApi) => Promise<unknown>;

const soon = () => AbortSignal.timeout(20_000);

/** The accounts may do everything to these kinds: what is refused, the policies refuse. */
const everything = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRole',
  metadata: { name: 'everything' },
  rules: [
    {
      apiGroups: ['', 'storage.k8s.io', 'events.k8s.io', 'snapshot.storage.k8s.io'],
      resources: ['*'],
      verbs: ['*'],
    },
  ],
};
const everythingForLoam = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'everything' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'everything' },
  subjects: ['loam-node', 'other'].map((name) => ({
    kind: 'ServiceAccount',
    name,
    namespace: loamNamespace,
  })),
};

/**
 * A real API server with deploy/kubernetes applied and its policies in force, and who writes there: `admin`, `other` (another service
 * account), `nobody` (the nodes' account with a token that names no node), and the nodes' account on each node, by its name.
 */
export class ConfinedCluster implements AsyncDisposable {
  readonly kubectl: Kubectl;
  readonly #server: RealApiServer;
  readonly #folder: string;
  readonly #apis = new Map<string, Api>();
  readonly #kubeconfigPaths = new Map<string, string>();
  #count = 0;

  private constructor(server: RealApiServer, folder: string, kubectl: Kubectl) {
    this.#server = server;
    this.#folder = folder;
    this.kubectl = kubectl;
    this.#open('admin', server.kubeconfigPath);
  }

  /** @param withSnapshots external-snapshotter's CustomResourceDefinitions are there */
  static async start(nodeNames: readonly string[], withSnapshots = false): Promise<ConfinedCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'loam-confined-'));
    // a nodeAffinity that can change is on its way into Kubernetes
    const apiServerFlags = () => ['--feature-gates=MutablePVNodeAffinity=true'];
    const server = await RealApiServer.start({ apiServerFlags });
    const cluster = new ConfinedCluster(server, folder, await Kubectl.of(server, folder));
    try {
      if (withSnapshots) await installSnapshotKinds(server.kubeconfigPath);
      await cluster.#prepare(nodeNames);
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  as(who: string): KubeApi {
    const api = this.#apis.get(who);
    if (api === undefined) throw new Error(`nobody is called ${who}`);
    return api;
  }

  kubeconfigPathOf(who: string): string {
    return this.#kubeconfigPaths.get(who) ?? '';
  }

  freshName(what: string): string {
    this.#count += 1;
    return `${what}-${this.#count}`;
  }

  /** By the administrator. */
  seed<K extends KindName>(kind: K, object: Kinds[K]): Promise<Kinds[K]> {
    return this.as('admin').create(kind, object, soon());
  }

  /** As the administrator sees it. */
  now<K extends KindName>(kind: K, object: Kinds[K]): Promise<Kinds[K]> {
    return this.as('admin').get(kind, keyOf(object), soon());
  }

  /** What a policy said. '' where the write was done. @throws whatever else went wrong */
  async refusalOf(who: string, write: Write): Promise<string> {
    try {
      await write(this.as(who));
      return '';
    } catch (error) {
      const text = String(error);
      if (text.includes('ValidatingAdmissionPolicy')) return text;
      throw error;
    }
  }

  /** A token for the pod, which has to be on a node. */
  async addPodAccount(podName: string): Promise<void> {
    this.#open(podName, await this.kubectl.kubeconfigOf('loam-node', { kind: 'Pod', name: podName }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const api of this.#apis.values()) await api.close();
    await this.#server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #prepare(nodeNames: readonly string[]): Promise<void> {
    const controllers = 'validatingadmissionpolicy-status-controller,persistentvolume-protection-controller';
    await this.#server.startControllerManager({ controllers });
    await this.kubectl.applyLoam();
    await this.kubectl.create(everything);
    await this.kubectl.create(everythingForLoam);
    await this.kubectl.run('-n', loamNamespace, 'create', 'serviceaccount', 'other');
    this.#open('other', await this.kubectl.kubeconfigOf('other'));
    this.#open('nobody', await this.kubectl.kubeconfigOf('loam-node'));
    for (const name of nodeNames) {
      await this.kubectl.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
      this.#open(name, await this.kubectl.kubeconfigOf('loam-node', { kind: 'Node', name }));
    }
    await this.#untilConfined();
  }

  /** The API server reads policies once a second or so. */
  async #untilConfined(): Promise<void> {
    const seeds: readonly [KindName, KubeObject][] = [
      ['PersistentVolume', await this.seed('PersistentVolume', aVolumeOn('probe'))],
      ['PersistentVolumeClaim', await this.seed('PersistentVolumeClaim', aClaimFor('probe', 'probe'))],
      ['CSIStorageCapacity', await this.seed('CSIStorageCapacity', aCapacityOf('probe', 'probe'))],
      ['Event', await this.seed('Event', anEventBy('probe', 'probe'))],
    ];
    for (const [kind, object] of seeds) {
      await eventually(`the policy for ${kind}`, async () => {
        return (await this.refusalOf('nobody', patch(kind, object, {}))) !== '';
      });
    }
  }

  #open(who: string, kubeconfigPath: string): void {
    const api = createKubeApi(loadKubeAccess(kubeconfigPath), { metrics: noMetrics, userAgent: 'loam-test' });
    this.#apis.set(who, api);
    this.#kubeconfigPaths.set(who, kubeconfigPath);
  }
}

export function create<K extends KindName>(kind: K, object: Kinds[K]): Write {
  return (api) => api.create(kind, object, soon());
}

export function patch(
  kind: KindName,
  object: KubeObject,
  body: object,
  type: 'merge' | 'strategic' = 'merge',
): Write {
  return (api) => api.patch(kind, keyOf(object), { type, body }, soon());
}

export function patchStatus(kind: KindName, object: KubeObject, body: object): Write {
  return (api) => api.patch(kind, keyOf(object), { type: 'merge', body }, soon(), 'status');
}

export function remove(kind: KindName, object: KubeObject): Write {
  return (api) => api.remove(kind, keyOf(object), soon());
}

function keyOf({ metadata: { name, namespace } }: KubeObject): ObjectKey {
  return namespace === undefined ? { name } : { name, namespace };
}

export interface PolicyStatus {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly typeChecking?: object };
}
