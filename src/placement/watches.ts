import { capacityDriver } from '../claims/annotations.ts';
import { claimKey, classNameOf, selectedNodeOf, uidOf } from '../claims/claim-facts.ts';
import { classNameOfVolume, isFree } from '../claims/volume-facts.ts';
import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type {
  CsiNode,
  CsiStorageCapacity,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
  VolumeSnapshot,
} from '../kube/objects.ts';
import { OptionalReflector } from '../kube/optional-reflector.ts';
import { longestSilenceMs, Reflector } from '../kube/reflector.ts';
import { type Change, ObjectStore } from '../kube/store.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { labelValueOf } from '../model/topology-value.ts';
import {
  projectCapacity,
  projectClaim,
  projectClass,
  projectCsiNode,
  projectLabelledClaim,
  projectLabelledVolume,
  projectNode,
  projectSnapshot,
  projectVolume,
} from './project.ts';
import { publisherOf, topologyValueOf } from './room.ts';

interface WatchesOptions {
  readonly api: KubeApi;
  readonly driverName: string;
  /** where the nodes publish their capacity */
  readonly namespace: string;
  /** keep of claims and PVs what their labels are decided by, too */
  readonly keepsLabels?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The cluster as placement sees it: claims, volumes, classes, nodes, the drivers on them, and what they have left. */
export class Watches {
  readonly #claims = new ObjectStore<PersistentVolumeClaim>({
    uid: (claim) => [uidOf(claim)],
    openOfClass: (claim) => (isOpen(claim) ? [classNameOf(claim)] : []),
    openOfNode: (claim) => {
      const nodeName = isOpen(claim) ? selectedNodeOf(claim) : undefined;
      return nodeName === undefined ? [] : [nodeName];
    },
  });
  readonly #volumes = new ObjectStore<PersistentVolume>({
    claim: ({ spec: { claimRef } }) =>
      claimRef === undefined || claimRef === null ? [] : [claimKey(claimRef)],
    freeOfClass: (volume) => (isFree(volume) ? [classNameOfVolume(volume)] : []),
  });
  readonly #classes = new ObjectStore<StorageClass>();
  readonly #nodes = new ObjectStore<Node>({ topology: ({ metadata }) => [labelValueOf(metadata.name)] });
  readonly #csiNodes = new ObjectStore<CsiNode>();
  readonly #capacities = new ObjectStore<CsiStorageCapacity>({
    class: ({ storageClassName }) => [storageClassName],
    publisher: (object) => {
      const value = publisherOf(object);
      return value === undefined ? [] : [value];
    },
  });
  readonly #reflectors: {
    readonly [K in WatchedKind]: Reflector<K>;
  };

  /** in a cluster that may have none */
  readonly #snapshots: OptionalReflector<'VolumeSnapshot'>;

  constructor(options: WatchesOptions) {
    const { driverName, namespace, keepsLabels = false } = options;
    this.#snapshots = new OptionalReflector({
      ...options,
      kind: 'VolumeSnapshot',
      store: new ObjectStore<VolumeSnapshot>(),
      project: projectSnapshot,
    });
    this.#reflectors = {
      PersistentVolumeClaim: new Reflector({
        ...options,
        kind: 'PersistentVolumeClaim',
        store: this.#claims,
        project: keepsLabels ? projectLabelledClaim : projectClaim,
      }),
      PersistentVolume: new Reflector({
        ...options,
        kind: 'PersistentVolume',
        store: this.#volumes,
        project: keepsLabels ? projectLabelledVolume(driverName) : projectVolume,
      }),
      StorageClass: new Reflector({
        ...options,
        kind: 'StorageClass',
        store: this.#classes,
        project: projectClass,
      }),
      Node: new Reflector({ ...options, kind: 'Node', store: this.#nodes, project: projectNode }),
      CSINode: new Reflector({
        ...options,
        kind: 'CSINode',
        store: this.#csiNodes,
        project: projectCsiNode(driverName),
      }),
      CSIStorageCapacity: new Reflector({
        ...options,
        kind: 'CSIStorageCapacity',
        list: { namespace, labelSelector: `${capacityDriver}=${driverName}` },
        store: this.#capacities,
        project: projectCapacity,
      }),
    };
  }

  /** To be called before `start`. */
  on<K extends WatchedKind>(kind: K, handler: (change: Change<Kinds[K]>) => void): void {
    this.#reflectors[kind].onChange(handler);
  }

  /** Of any driver. To be called before `start`. */
  onSnapshot(handler: (change: Change<VolumeSnapshot>) => void): void {
    this.#snapshots.onChange(handler);
  }

  /** Resolves when everything was listed once but for snapshots, which nothing waits for. */
  async start(signal: AbortSignal): Promise<void> {
    const all = Object.values(this.#reflectors);
    for (const reflector of [...all, this.#snapshots]) reflector.start(signal);
    await Promise.all(all.map(({ synced }) => synced));
  }

  areFresh(): boolean {
    return Object.values(this.#reflectors).every(
      (reflector) => reflector.lastContactAgeMs() <= longestSilenceMs,
    );
  }

  claimByUid(uid: string): PersistentVolumeClaim | undefined {
    return this.#claims.byIndex('uid', uid)[0];
  }

  openClaimsOfClass(className: string): readonly PersistentVolumeClaim[] {
    return this.#claims.byIndex('openOfClass', className);
  }

  /** Claims without a volume that wait for this node. */
  openClaimsOfNode(nodeName: string): readonly PersistentVolumeClaim[] {
    return this.#claims.byIndex('openOfNode', nodeName);
  }

  openClaims(): readonly PersistentVolumeClaim[] {
    return [...this.#claims.list()].filter(isOpen);
  }

  claims(): Iterable<PersistentVolumeClaim> {
    return this.#claims.list();
  }

  volumes(): Iterable<PersistentVolume> {
    return this.#volumes.list();
  }

  /** @param key `namespace/name` */
  claimNamed(key: string): PersistentVolumeClaim | undefined {
    return this.#claims.get(key);
  }

  putVolume(volume: PersistentVolume): void {
    this.#volumes.put(volume);
  }

  /** Writes an API answer through, ahead of the watch. */
  putClaim(claim: PersistentVolumeClaim): void {
    this.#claims.put(claim);
  }

  classOf(claim: PersistentVolumeClaim): StorageClass | undefined {
    return this.#classes.get(classNameOf(claim));
  }

  volume(name: string): PersistentVolume | undefined {
    return this.#volumes.get(name);
  }

  volumesNaming({ metadata }: PersistentVolumeClaim): readonly PersistentVolume[] {
    return this.#volumes.byIndex('claim', claimKey(metadata));
  }

  freeVolumesFor(claim: PersistentVolumeClaim): readonly PersistentVolume[] {
    return this.#volumes.byIndex('freeOfClass', classNameOf(claim));
  }

  node(name: string): Node | undefined {
    return this.#nodes.get(name);
  }

  nodes(): Iterable<Node> {
    return this.#nodes.list();
  }

  csiNode(name: string): CsiNode | undefined {
    return this.#csiNodes.get(name);
  }

  /** One, unless a hash is hit twice. */
  nodesOfValue(topologyValue: string): readonly Node[] {
    return this.#nodes.byIndex('topology', topologyValue);
  }

  /** What a node's process has published, of all classes; nobody else's objects. */
  capacitiesBy(topologyValue: string): readonly CsiStorageCapacity[] {
    return this.#capacities.byIndex('publisher', topologyValue);
  }

  putCapacity(object: CsiStorageCapacity): void {
    this.#capacities.put(object);
  }

  /** The class's capacity objects by the topology value of their node. */
  capacitiesOf(className: string): ReadonlyMap<string, CsiStorageCapacity> {
    const byNode = new Map<string, CsiStorageCapacity>();
    for (const object of this.#capacities.byIndex('class', className)) {
      const value = topologyValueOf(object);
      if (value !== undefined) byNode.set(value, object);
    }
    return byNode;
  }
}

type WatchedKind = Extract<
  KindName,
  'PersistentVolumeClaim' | 'PersistentVolume' | 'StorageClass' | 'Node' | 'CSINode' | 'CSIStorageCapacity'
>;

/** Whether anything is left to find for a claim. */
export function isOpen(claim: PersistentVolumeClaim): boolean {
  return (claim.spec.volumeName ?? '') === '';
}
