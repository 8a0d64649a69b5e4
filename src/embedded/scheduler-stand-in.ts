import { isConflict, isNotFound } from '../kube/api-error.ts';
import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { keyOf, ObjectStore } from '../kube/store.ts';
import { type Outcome, WorkQueue } from '../kube/work-queue.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { noMetrics } from '../model/metrics.ts';
import { boundByController, selectedNode } from './decide-claim.ts';
import { decidePlacement, type Placement } from './decide-placement.ts';
import { claimsOfPod } from './protection.ts';
import type { Notices } from './volume-binder.ts';

/** Puts pods on nodes as kube-scheduler does as far as volumes go; nothing else of a node is looked at. */
export class SchedulerStandIn {
  readonly #api: KubeApi;
  readonly #notices: Notices;
  readonly #queue: WorkQueue;
  readonly #reflectors: Reflector<KindName>[] = [];
  readonly #pods = new ObjectStore<Kinds['Pod']>();
  readonly #claims = new ObjectStore<Kinds['PersistentVolumeClaim']>();
  readonly #volumes = new ObjectStore<Kinds['PersistentVolume']>();
  readonly #classes = new ObjectStore<Kinds['StorageClass']>();
  readonly #nodes = new ObjectStore<Kinds['Node']>();
  readonly #capacities = new ObjectStore<Kinds['CSIStorageCapacity']>();

  constructor(options: { api: KubeApi; notices: Notices; clock: Clock; log: Log }) {
    this.#api = options.api;
    this.#notices = options.notices;
    const { clock, log } = options;
    this.#queue = new WorkQueue({
      name: 'scheduler',
      reconcile: (key, signal) => this.#schedule(key, signal),
      workers: 1,
      backoff: { baseMs: 100, maxMs: 5000 },
      clock,
      log,
      metrics: noMetrics,
    });
    const follow = <K extends KindName>(kind: K, store: ObjectStore<Kinds[K]>): Reflector<K> => {
      const reflector = new Reflector({ api: this.#api, kind, store, clock, log, metrics: noMetrics });
      this.#reflectors.push(reflector as unknown as Reflector<KindName>);
      return reflector;
    };
    follow('Pod', this.#pods).onChange(
      ({ current }) => current !== undefined && this.#queue.add(keyOf(current)),
    );
    const others = [
      follow('PersistentVolumeClaim', this.#claims),
      follow('PersistentVolume', this.#volumes),
      follow('StorageClass', this.#classes),
      follow('Node', this.#nodes),
      follow('CSIStorageCapacity', this.#capacities),
    ];
    for (const reflector of others) reflector.onChange(() => this.#addWaiting());
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const reflector of this.#reflectors) reflector.start(signal);
    await Promise.all(this.#reflectors.map(({ synced }) => synced));
    this.#queue.start(signal);
  }

  #addWaiting(): void {
    for (const pod of this.#pods.list()) if (isWaiting(pod)) this.#queue.add(keyOf(pod));
  }

  async #schedule(key: string, signal: AbortSignal): Promise<Outcome> {
    const pod = this.#pods.get(key);
    if (pod === undefined || !isWaiting(pod)) return { kind: 'done' };
    const { namespace = '' } = pod.metadata;
    const placement = decidePlacement({
      nodes: [...this.#nodes.list()],
      claims: claimsOfPod(pod).map((name) => ({ name, claim: this.#claims.get(`${namespace}/${name}`) })),
      volumes: [...this.#volumes.list()],
      classes: (name) => this.#classes.get(name),
      capacities: (name) =>
        [...this.#capacities.list()].filter(({ storageClassName }) => storageClassName === name),
    });
    try {
      await this.#carryOut(pod, placement, signal);
      return { kind: 'done' };
    } catch (error) {
      // somebody was faster; what changed comes by the watch
      if (isConflict(error) || isNotFound(error)) return { kind: 'retry' };
      throw error;
    }
  }

  async #carryOut(pod: Pod, placement: Placement, signal: AbortSignal): Promise<void> {
    switch (placement.kind) {
      case 'wait':
        this.#notices.record({ kind: 'Pod', object: pod }, 'Warning', 'FailedScheduling', placement.message);
        return;
      case 'prepare':
        for (const { claim, volume } of placement.reserve) await this.#reserve(volume, claim, signal);
        for (const claim of placement.select) await this.#select(claim, placement.node, signal);
        return;
      case 'assign': {
        const body = {
          metadata: { resourceVersion: pod.metadata.resourceVersion },
          spec: { nodeName: placement.node },
        };
        this.#pods.put(await this.#api.patch('Pod', pod.metadata, { type: 'merge', body }, signal));
        const text = `Successfully assigned ${keyOf(pod)} to ${placement.node}`;
        this.#notices.record({ kind: 'Pod', object: pod }, 'Normal', 'Scheduled', text);
      }
    }
  }

  async #reserve(volume: PersistentVolume, claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    if (volume.spec.claimRef?.uid !== undefined) return;
    const { namespace, name, uid } = claim.metadata;
    const isPrebound = volume.spec.claimRef !== undefined && volume.spec.claimRef !== null;
    const body = {
      metadata: {
        resourceVersion: volume.metadata.resourceVersion,
        ...(isPrebound ? {} : { annotations: { [boundByController]: 'yes' } }),
      },
      spec: { claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid } },
    };
    this.#volumes.put(
      await this.#api.patch('PersistentVolume', volume.metadata, { type: 'merge', body }, signal),
    );
  }

  async #select(claim: PersistentVolumeClaim, node: string, signal: AbortSignal): Promise<void> {
    if (claim.metadata.annotations?.[selectedNode] === node) return;
    const { resourceVersion } = claim.metadata;
    const body = { metadata: { resourceVersion, annotations: { [selectedNode]: node } } };
    this.#claims.put(
      await this.#api.patch('PersistentVolumeClaim', claim.metadata, { type: 'merge', body }, signal),
    );
  }
}

function isWaiting(pod: Pod): boolean {
  return (pod.spec?.nodeName ?? '') === '' && pod.metadata.deletionTimestamp === undefined;
}
