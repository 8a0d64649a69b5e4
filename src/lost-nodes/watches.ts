import { topologyValueOf } from '../claims/volume-facts.ts';
import type { KubeApi } from '../kube/kube-api.ts';
import type { CsiNode, Node, PersistentVolume } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { type Change, ObjectStore } from '../kube/store.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import type { Metrics } from '../model/metrics.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { asksForSomething, projectCsiNode, projectNode, projectVolume } from './project.ts';

/** PVs, and from when one of them asks for something the nodes too: a cluster that uses none of this pays for one watch of names. */
export class LossWatches {
  readonly #volumes = new ObjectStore<PersistentVolume>({
    topology: (volume) => {
      const value = asksForSomething(volume) ? topologyValueOf(volume) : undefined;
      return value === undefined ? [] : [value];
    },
  });
  readonly #nodes = new ObjectStore<Node>({ topology: ({ metadata }) => [labelValueOf(metadata.name)] });
  readonly #csiNodes = new ObjectStore<CsiNode>({
    topology: ({ spec }) => spec.drivers.map(({ nodeID }) => labelValueOf(nodeID)),
  });
  readonly #reflectors: {
    readonly volumes: Reflector<'PersistentVolume'>;
    readonly nodes: Reflector<'Node'>;
    readonly csiNodes: Reflector<'CSINode'>;
  };
  #nodesSynced: Promise<unknown> | undefined;

  constructor(options: {
    readonly api: KubeApi;
    readonly driverName: string;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    const { driverName } = options;
    const project = projectVolume(driverName);
    this.#reflectors = {
      volumes: new Reflector({ ...options, kind: 'PersistentVolume', store: this.#volumes, project }),
      nodes: new Reflector({ ...options, kind: 'Node', store: this.#nodes, project: projectNode }),
      csiNodes: new Reflector({
        ...options,
        kind: 'CSINode',
        store: this.#csiNodes,
        project: projectCsiNode(driverName),
      }),
    };
  }

  /** To be called before `start`. */
  onVolume(handler: (change: Change<PersistentVolume>) => void): void {
    this.#reflectors.volumes.onChange(handler);
  }

  /** Called with the topology value of a node that came, went, or changed in readiness. To be called before `start`. */
  onNode(handler: (topologyValue: string) => void): void {
    this.#reflectors.nodes.onChange(({ previous, current }) => {
      const seen = [previous, current].map((node) => JSON.stringify(node?.status));
      if (seen[0] !== seen[1]) handler(labelValueOf((current ?? previous)?.metadata.name ?? ''));
    });
    this.#reflectors.csiNodes.onChange(({ previous, current }) => {
      for (const { nodeID } of (current ?? previous)?.spec.drivers ?? []) handler(labelValueOf(nodeID));
    });
  }

  /** Resolves when the PVs were listed once. */
  async start(signal: AbortSignal): Promise<void> {
    this.#reflectors.volumes.start(signal);
    await this.#reflectors.volumes.synced;
  }

  /** Watches the nodes from now on. Resolves when all of them are known. */
  async needNodes(signal: AbortSignal): Promise<void> {
    const { nodes, csiNodes } = this.#reflectors;
    if (this.#nodesSynced === undefined) {
      nodes.start(signal);
      csiNodes.start(signal);
      this.#nodesSynced = Promise.all([nodes.synced, csiNodes.synced]);
    }
    await this.#nodesSynced;
  }

  volume(name: string): PersistentVolume | undefined {
    return this.#volumes.get(name);
  }

  volumes(): Iterable<PersistentVolume> {
    return this.#volumes.list();
  }

  volumesOfNode(topologyValue: string): readonly PersistentVolume[] {
    return this.#volumes.byIndex('topology', topologyValue);
  }

  putVolume(volume: PersistentVolume): void {
    this.#volumes.put(volume);
  }

  nodesOf(topologyValue: string): readonly Node[] {
    return this.#nodes.byIndex('topology', topologyValue);
  }

  /** CSINodes that say that our driver is registered under this name. */
  registeredAs(topologyValue: string): readonly CsiNode[] {
    return this.#csiNodes.byIndex('topology', topologyValue);
  }
}
