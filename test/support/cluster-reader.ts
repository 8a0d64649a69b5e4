import { isNotFound } from '../../src/kube/api-error.ts';
import { createKubeApi, loadKubeAccess } from '../../src/kube/client.ts';
import { type KindName, kinds } from '../../src/kube/kinds.ts';
import type { KubeApi } from '../../src/kube/kube-api.ts';
import type { KubeEvent } from '../../src/kube/objects.ts';
import { noMetrics } from '../../src/model/metrics.ts';

/** As tests and kubectl call them. */
const kindsByShortName: Readonly<Record<string, KindName>> = {
  pod: 'Pod',
  pvc: 'PersistentVolumeClaim',
  pv: 'PersistentVolume',
  node: 'Node',
  namespace: 'Namespace',
  csinode: 'CSINode',
  volumesnapshot: 'VolumeSnapshot',
  volumesnapshotcontent: 'VolumeSnapshotContent',
};

/** Steps of kubectl's jsonpath that name one field: `.status.phase`, `.metadata.labels.a\.b/c`, `.items[0].name`. */
const step = /\.((?:[^.[\]{}()\\]|\\.)+)((?:\[\d+\])*)/y;

/**
 * What tests ask again and again until it is so. A kubectl for each look takes a tenth of a second of a processor from what is waited
 * for, which several tests at a time would notice.
 */
export class ClusterReader {
  readonly #kubeconfigPath: () => string;
  #api: KubeApi | undefined;

  constructor(kubeconfigPath: () => string) {
    this.#kubeconfigPath = kubeconfigPath;
  }

  /** Whether `field` can tell; kubectl can tell the rest. */
  canTell(kind: string, path: string): boolean {
    return kindsByShortName[kind] !== undefined && stepsOf(path) !== undefined;
  }

  /** One field, as kubectl prints it; empty where the object or the field is not there. */
  async field(kind: string, namespace: string, name: string, path: string): Promise<string> {
    const steps = stepsOf(path);
    if (steps === undefined) throw new Error(`${path} is more than the way to one field`);
    let found = await this.find(kind, namespace, name);
    for (const key of steps) found = (found as Record<string, unknown> | null | undefined)?.[key];
    if (found === undefined || found === null) return '';
    return typeof found === 'string' ? found : JSON.stringify(found);
  }

  /** @returns undefined where there is none of that name */
  async find(kind: string, namespace: string, name: string): Promise<unknown> {
    const known = kindsByShortName[kind];
    if (known === undefined) throw new Error(`no short name of a kind: ${kind}`);
    try {
      return await this.#open().get(known, kinds[known].namespaced ? { namespace, name } : { name }, soon());
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Everybody's events about objects of that name. */
  async eventsOf(namespace: string, name: string): Promise<readonly KubeEvent[]> {
    const fieldSelector = `involvedObject.name=${name}`;
    return (await this.#open().list('Event', { namespace, fieldSelector }, soon())).items;
  }

  #open(): KubeApi {
    // the cluster may be there later than this object; its connections keep no process alive
    const access = () => loadKubeAccess(this.#kubeconfigPath());
    this.#api ??= createKubeApi(access(), { metrics: noMetrics, userAgent: 'loam-test' });
    return this.#api;
  }
}

/** The keys and indices from the object to the field; undefined where the path is more than that. */
export function stepsOf(path: string): readonly string[] | undefined {
  const found: string[] = [];
  step.lastIndex = 0;
  while (step.lastIndex < path.length) {
    const match = step.exec(path);
    if (match === null) return undefined;
    const [, key = '', indices = ''] = match;
    found.push(key.replaceAll(/\\(.)/g, '$1'), ...(indices.match(/\d+/g) ?? []));
    // `.drivers[*]` or the like comes next
    if (path[step.lastIndex] !== undefined && path[step.lastIndex] !== '.') return undefined;
  }
  return found.length === 0 ? undefined : found;
}

function soon(): AbortSignal {
  return AbortSignal.timeout(60_000);
}
