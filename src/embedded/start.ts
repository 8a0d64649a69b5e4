import { stringify } from 'yaml';
import { EventRecorder } from '../kube/event-recorder.ts';
import type { KubeApi, ObjectKey } from '../kube/kube-api.ts';
import type { Clock } from '../model/clock.ts';
import type { Log } from '../model/log.ts';
import { nodeTopologyKey } from '../model/topology.ts';
import { labelValueOf } from '../model/topology-value.ts';
import { Faults } from './faults.ts';
import { EmbeddedServer } from './http-server.ts';
import { inProcessApi } from './in-process-api.ts';
import { ObjectStorage } from './object-storage.ts';
import { SchedulerStandIn } from './scheduler-stand-in.ts';
import { VolumeBinder } from './volume-binder.ts';
import { Watches } from './watches.ts';

export interface EmbeddedControlPlaneOptions {
  /** 0 or unset: any free one */
  readonly port?: number;
  /** names of the nodes; each is Ready and carries the label of its topology */
  readonly nodes: readonly string[];
  readonly binder: boolean;
  readonly scheduler: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** how many writes watches may lie behind before they get 410; 10,000 */
  readonly historyLimit?: number;
  /** 60 s, as API servers do */
  readonly bookmarkPeriodMs?: number;
}

export interface EmbeddedControlPlane {
  readonly url: string;
  /** for kubectl and for `loadKubeAccess` */
  readonly kubeconfigText: string;
  readonly faults: Faults;
  /** unset where no binder was asked for */
  readonly binder: VolumeBinder | undefined;
  /** the same objects without http; faults do not reach it */
  readonly api: KubeApi;
  /** DELETE with gracePeriodSeconds 0, as a kubelet ends a pod */
  finishPod(key: ObjectKey, uid: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * A small Kubernetes API in this process, with the controllers that bind claims and place pods: to try Loam on and to test against.
 * Nothing is kept beyond the process and nobody is asked who he is: it listens on the loopback address only.
 */
export async function startEmbeddedControlPlane(
  options: EmbeddedControlPlaneOptions,
): Promise<EmbeddedControlPlane> {
  const { clock, log } = options;
  const storage = new ObjectStorage({
    clock,
    ...(options.historyLimit === undefined ? {} : { historyLimit: options.historyLimit }),
  });
  for (const name of options.nodes) addNode(storage, name);
  const watches = new Watches({
    storage,
    clock,
    bookmarkPeriodMs: options.bookmarkPeriodMs ?? 60_000,
    areStalled: () => faults.areWatchesStalled,
  });
  const server = new EmbeddedServer({
    storage,
    watches,
    faults: () => faults,
    clock,
    log,
    port: options.port ?? 0,
  });
  const faults = new Faults({
    dropWatches: (kind) => watches.drop(kind),
    flushWatches: () => watches.flush(),
    compactHistory: () => server.compactHistory(),
    setListening: (listening) => (listening ? server.listen() : server.close()),
  });
  const api = inProcessApi(storage);
  const stopping = new AbortController();
  const recorder = (component: string): EventRecorder =>
    new EventRecorder({ api, component, host: '', clock, log });
  const binder = options.binder
    ? new VolumeBinder({ storage, notices: recorder('persistentvolume-controller'), clock, log })
    : undefined;
  if (options.scheduler) {
    await new SchedulerStandIn({ api, notices: recorder('default-scheduler'), clock, log }).start(
      stopping.signal,
    );
  }
  await server.listen();
  return {
    url: server.url,
    kubeconfigText: kubeconfigOf(server.url),
    faults,
    binder,
    api,
    finishPod: async (key, uid) => {
      if (storage.find('Pod', key)?.metadata.uid === uid)
        storage.remove('Pod', key, { uid, gracePeriodSeconds: 0 });
    },
    close: async () => {
      stopping.abort();
      binder?.stop();
      await server.close();
    },
  };
}

function addNode(storage: ObjectStorage, name: string): void {
  const labels = { 'kubernetes.io/hostname': name, [nodeTopologyKey]: labelValueOf(name) };
  const status = { conditions: [{ type: 'Ready', status: 'True' }] };
  storage.create('Node', { metadata: { name, labels }, spec: {}, status });
}

function kubeconfigOf(server: string): string {
  const name = 'loam-embedded';
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server } }],
    users: [{ name, user: {} }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: 'default' } }],
    'current-context': name,
  });
}
