import type { KubeApi } from '../../src/kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../src/kube/objects.ts';

export const benchNamespace = 'default';
export const benchNode = 'node-a';

export interface ClassSpec {
  readonly name: string;
  readonly provisioner: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export async function createClass(api: KubeApi, spec: ClassSpec, signal: AbortSignal): Promise<void> {
  const object: StorageClass = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: spec.name },
    provisioner: spec.provisioner,
    parameters: { ...spec.parameters },
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'WaitForFirstConsumer',
  };
  await api.create('StorageClass', object, signal);
}

/** A WaitForFirstConsumer claim with its node named at creation, as the scheduler would name it. */
export async function createClaim(
  api: KubeApi,
  name: string,
  className: string,
  signal: AbortSignal,
): Promise<PersistentVolumeClaim> {
  const object: PersistentVolumeClaim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace: benchNamespace,
      annotations: { 'volume.kubernetes.io/selected-node': benchNode },
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: className,
      resources: { requests: { storage: '64Mi' } },
    },
  };
  return api.create('PersistentVolumeClaim', object, signal);
}

/** When each PV of the cluster was first seen to exist, to be Bound, and to be gone. Times are performance.now(). */
export class VolumeTimes {
  readonly existsMs = new Map<string, number>();
  readonly goneMs = new Map<string, number>();
  #waiters: (() => void)[] = [];

  /** Watches until the signal aborts; resolves once the watch is open. */
  async start(api: KubeApi, signal: AbortSignal): Promise<void> {
    const { resourceVersion } = await api.list('PersistentVolume', {}, signal);
    void this.#follow(api, resourceVersion, signal);
  }

  async #follow(api: KubeApi, resourceVersion: string, signal: AbortSignal): Promise<void> {
    const watch = api.watch('PersistentVolume', { resourceVersion, timeoutSeconds: 3600 }, signal);
    try {
      for await (const event of watch) {
        if (event.type === 'BOOKMARK' || event.type === 'ERROR') continue;
        this.#take(event.type, event.object);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #take(type: 'ADDED' | 'MODIFIED' | 'DELETED', volume: PersistentVolume): void {
    const uid = volume.spec.claimRef?.uid ?? '';
    const nowMs = performance.now();
    if (type === 'DELETED') this.goneMs.set(uid, nowMs);
    else if (!this.existsMs.has(uid)) this.existsMs.set(uid, nowMs);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Waits until every claim has its PV, or until every one's PV is gone. */
  async until(which: 'existsMs' | 'goneMs', uids: readonly string[], timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    let missing = uids;
    while ((missing = missing.filter((uid) => !this[which].has(uid))).length > 0) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0)
        throw new Error(`${missing.length} of ${uids.length} PVs: not ${which} after ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

/** Creates claims as fast as the API server takes them, some at once. */
export async function createBurst(
  api: KubeApi,
  names: readonly string[],
  className: string,
  signal: AbortSignal,
): Promise<{ readonly uid: string; readonly createdMs: number }[]> {
  return inParallel(names, 16, async (name) => {
    const claim = await createClaim(api, name, className, signal);
    return { uid: claim.metadata.uid ?? '', createdMs: performance.now() };
  });
}

export async function inParallel<T, R>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = [...items.entries()];
  const run = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, item] = next;
      results[index] = await work(item);
    }
  };
  await Promise.all(Array.from({ length: workers }, run));
  return results;
}
