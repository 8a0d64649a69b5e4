import type { KindName, Kinds } from '../kube/kinds.ts';
import type { KubeApi, ObjectKey } from '../kube/kube-api.ts';
import type { PersistentVolume, Pod } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { keyOf, ObjectStore } from '../kube/store.ts';
import { type Outcome, WorkQueue } from '../kube/work-queue.ts';
import { csiAccessMode, type KubeAccessMode } from '../model/access-mode.ts';
import type { Clock } from '../model/clock.ts';
import type { CallContext } from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import { noMetrics } from '../model/metrics.ts';
import type { NodeDriver, PublishRequest } from '../model/node-driver.ts';
import { statusCodeOf } from '../model/status-code.ts';
import type { VolumeCapability } from '../model/volume.ts';
import { volumePaths, type VolumePaths } from './kubelet-paths.ts';
import type { Notices } from './volume-binder.ts';

/** kubelet gives every CSI call two minutes. */
const callTimeoutMs = 120_000;

interface KubeletOptions {
  readonly api: KubeApi;
  readonly nodeName: string;
  readonly driverName: string;
  /** kubelet's root directory; everything is staged and published below it */
  readonly rootPath: string;
  readonly driver: Pick<NodeDriver, 'stage' | 'unstage' | 'publish' | 'unpublish'>;
  /** makes a directory and its parents, mode 0750; removes an empty one. Absent or present already is fine. */
  readonly directories: { make(path: string): Promise<void>; remove(path: string): Promise<void> };
  /** Ends a pod that is being deleted: DELETE with gracePeriodSeconds 0, which the KubeApi port has no word for. */
  readonly finishPod: (key: ObjectKey, uid: string) => Promise<void>;
  /** whether the driver advertises it; then ReadWriteOnce maps to it, as in kubelet */
  readonly singleNodeMultiWriter: boolean;
  readonly notices: Notices;
  readonly clock: Clock;
  readonly log: Log;
}

/** A volume that a pod has, or had, on this node. */
interface Attached {
  readonly podUid: string;
  readonly volumeName: string;
  readonly volumeHandle: string;
  readonly isBlock: boolean;
  readonly paths: VolumePaths;
}

/**
 * Stages and publishes the volumes of the pods on one node and calls such a pod Running; there are no containers. What a real
 * kubelet asks of a driver, it asks in the same order, with the same paths and access modes.
 */
export class KubeletStandIn {
  readonly #options: KubeletOptions;
  readonly #queue: WorkQueue;
  readonly #reflectors: Reflector<KindName>[] = [];
  readonly #pods = new ObjectStore<Kinds['Pod']>();
  readonly #claims = new ObjectStore<Kinds['PersistentVolumeClaim']>();
  readonly #volumes = new ObjectStore<Kinds['PersistentVolume']>();
  /** by pod key */
  readonly #attached = new Map<string, Map<string, Attached>>();

  constructor(options: KubeletOptions) {
    this.#options = options;
    const { api, clock, log } = options;
    this.#queue = new WorkQueue({
      name: 'kubelet',
      reconcile: (key, signal) => this.#sync(key, signal),
      workers: 4,
      backoff: { baseMs: 500, maxMs: 122_000 },
      clock,
      log,
      metrics: noMetrics,
    });
    const follow = <K extends KindName>(kind: K, store: ObjectStore<Kinds[K]>, list = {}): Reflector<K> => {
      const reflector = new Reflector({ api, kind, store, list, clock, log, metrics: noMetrics });
      this.#reflectors.push(reflector as unknown as Reflector<KindName>);
      return reflector;
    };
    const mine = { fieldSelector: `spec.nodeName=${options.nodeName}` };
    follow('Pod', this.#pods, mine).onChange(({ previous, current }) => {
      const pod = current ?? previous;
      if (pod !== undefined) this.#queue.add(keyOf(pod));
    });
    const others = [follow('PersistentVolumeClaim', this.#claims), follow('PersistentVolume', this.#volumes)];
    for (const reflector of others) reflector.onChange(() => this.#addPending());
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const reflector of this.#reflectors) reflector.start(signal);
    await Promise.all(this.#reflectors.map(({ synced }) => synced));
    this.#queue.start(signal);
  }

  /** What a kubelet does after its own restart: stages and publishes everything once more, over what is there. */
  async replay(signal: AbortSignal): Promise<void> {
    for (const pod of this.#pods.list()) {
      if (pod.metadata.deletionTimestamp === undefined && pod.status?.phase === 'Running')
        await this.#attachAll(pod, signal);
    }
  }

  /** Where a pod finds the volume of one of its claims, for who plays the container. */
  targetPathOf(podKey: string, volumeName: string): string | undefined {
    return this.#attached.get(podKey)?.get(volumeName)?.paths.targetPath;
  }

  #addPending(): void {
    for (const pod of this.#pods.list()) if (pod.status?.phase !== 'Running') this.#queue.add(keyOf(pod));
  }

  async #sync(key: string, signal: AbortSignal): Promise<Outcome> {
    const pod = this.#pods.get(key);
    await this.#detachStrangers(key, pod?.metadata.uid, signal);
    if (pod === undefined) return { kind: 'done' };
    if (pod.metadata.deletionTimestamp !== undefined) {
      await this.#detachAll(key, signal);
      await this.#options.finishPod(pod.metadata, pod.metadata.uid ?? '');
      return { kind: 'done' };
    }
    if (pod.status?.phase !== 'Pending' || !(await this.#attachAll(pod, signal))) return { kind: 'done' };
    const body = { metadata: { uid: pod.metadata.uid }, status: { phase: 'Running' } };
    this.#pods.put(
      await this.#options.api.patch('Pod', pod.metadata, { type: 'merge', body }, signal, 'status'),
    );
    return { kind: 'done' };
  }

  /** @returns false where a claim is not bound yet; the watch will tell */
  async #attachAll(pod: Pod, signal: AbortSignal): Promise<boolean> {
    const { namespace = '' } = pod.metadata;
    for (const { persistentVolumeClaim: reference } of pod.spec?.volumes ?? []) {
      if (reference === undefined) continue;
      const claim = this.#claims.get(`${namespace}/${reference.claimName}`);
      const volume = this.#volumes.get(claim?.spec.volumeName ?? '');
      const isBound = claim?.status?.phase === 'Bound' && volume?.spec.claimRef?.uid === claim.metadata.uid;
      if (volume === undefined || !isBound) return false;
      // volumes of other drivers are other kubelets' business: the pod runs without them
      if (volume.spec.csi?.driver === this.#options.driverName)
        await this.#attach(pod, volume, reference.readOnly ?? false, signal);
    }
    return true;
  }

  async #attach(pod: Pod, volume: PersistentVolume, isReadOnly: boolean, signal: AbortSignal): Promise<void> {
    const { driver, directories, driverName, rootPath, notices } = this.#options;
    const podUid = pod.metadata.uid ?? '';
    const paths = volumePaths(rootPath, driverName, volume, podUid);
    const { name } = volume.metadata;
    const isBlock = volume.spec.volumeMode === 'Block';
    const volumeHandle = volume.spec.csi?.volumeHandle ?? '';
    // remembered before the first call: whatever a failed one has left is undone with the pod
    this.#remember(keyOf(pod), { podUid, volumeName: name, volumeHandle, isBlock, paths });
    try {
      const request = this.#publishRequest(volume, paths, isReadOnly);
      await directories.make(paths.stagingPath);
      await driver.stage(request, this.#call(signal));
      await directories.make(paths.targetParentPath);
      await driver.publish(request, this.#call(signal));
    } catch (error) {
      const what = isBlock ? 'MapVolume.SetUpDevice' : 'MountVolume.SetUp';
      const text = `${what} failed for volume "${name}" : rpc error: code = ${statusCodeOf(error) ?? 'UNKNOWN'} desc = ${messageOf(error)}`;
      notices.record(
        { kind: 'Pod', object: pod },
        'Warning',
        isBlock ? 'FailedMapVolume' : 'FailedMount',
        text,
      );
      throw error;
    }
  }

  #publishRequest(volume: PersistentVolume, paths: VolumePaths, isReadOnly: boolean): PublishRequest {
    const { csi, accessModes = [], mountOptions = [], volumeMode } = volume.spec;
    // kubelet looks at the first mode only
    const mode = (accessModes[0] ?? 'ReadWriteOnce') as KubeAccessMode;
    const capability: VolumeCapability = {
      accessMode: csiAccessMode(mode, this.#options.singleNodeMultiWriter),
      access:
        volumeMode === 'Block'
          ? { kind: 'block' }
          : { kind: 'mount', fsType: csi?.fsType ?? '', mountFlags: mountOptions },
    };
    return {
      volumeId: csi?.volumeHandle ?? '',
      stagingTargetPath: paths.stagingPath,
      targetPath: paths.targetPath,
      readonly: isReadOnly || csi?.readOnly === true,
      capability,
      volumeContext: csi?.volumeAttributes ?? {},
    };
  }

  /** Volumes of a pod that was gone without its kubelet, and of one that was replaced by another of the same name. */
  async #detachStrangers(key: string, uid: string | undefined, signal: AbortSignal): Promise<void> {
    for (const attached of this.#attached.get(key)?.values() ?? []) {
      if (attached.podUid !== uid) await this.#detach(key, attached, signal);
    }
  }

  async #detachAll(key: string, signal: AbortSignal): Promise<void> {
    for (const attached of this.#attached.get(key)?.values() ?? []) await this.#detach(key, attached, signal);
  }

  async #detach(key: string, attached: Attached, signal: AbortSignal): Promise<void> {
    const { driver, directories } = this.#options;
    const { volumeHandle: volumeId, paths, volumeName } = attached;
    await driver.unpublish({ volumeId, targetPath: paths.targetPath }, this.#call(signal));
    await directories.remove(paths.targetParentPath);
    if (!this.#isStagedForOthers(key, attached)) {
      await driver.unstage({ volumeId, stagingTargetPath: paths.stagingPath }, this.#call(signal));
      await directories.remove(paths.stagingPath);
    }
    const ofPod = this.#attached.get(key);
    ofPod?.delete(volumeName);
    if (ofPod?.size === 0) this.#attached.delete(key);
  }

  /** One staging serves all pods of the node. */
  #isStagedForOthers(key: string, attached: Attached): boolean {
    return [...this.#attached].some(
      ([other, volumes]) =>
        other !== key &&
        [...volumes.values()].some(({ paths }) => paths.stagingPath === attached.paths.stagingPath),
    );
  }

  #remember(key: string, attached: Attached): void {
    const ofPod = this.#attached.get(key) ?? new Map<string, Attached>();
    this.#attached.set(key, ofPod.set(attached.volumeName, attached));
  }

  #call(signal: AbortSignal): CallContext {
    const deadlineMs = this.#options.clock.nowMs() + callTimeoutMs;
    return { signal: AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]), deadlineMs };
  }
}
