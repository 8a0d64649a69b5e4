import { nodeLostSince, provisionerFinalizer } from '../claims/annotations.ts';
import { uidOf } from '../claims/claim-facts.ts';
import { buildTombstone, readTombstone, type Tombstone } from '../claims/tombstone.ts';
import { ApiError, isAlreadyExists, isConflict, isNotFound } from '../kube/api-error.ts';
import type { KubeApi, ObjectKey } from '../kube/kube-api.ts';
import { lookUp } from '../kube/look-up.ts';
import type { ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod } from '../kube/objects.ts';
import { labelValueOf } from '../model/topology-value.ts';
import type { Log } from '../model/log.ts';
import { textOf } from './decide-loss.ts';
import { isName } from './node-presence.ts';
import { usesClaim } from './recreated-claim.ts';

/** A tombstone as it lies in the API. */
export interface FoundTombstone {
  readonly object: ConfigMap;
  readonly stone: Tombstone;
}

/**
 * The writes about lost nodes, each with the precondition that makes it harmless where somebody was faster: marks with the PV's
 * version, deletions with the object's uid.
 */
export class LossWrites {
  readonly #api: KubeApi;
  readonly #namespace: string;
  readonly #log: Log;

  constructor(options: { readonly api: KubeApi; readonly namespace: string; readonly log: Log }) {
    this.#api = options.api;
    this.#namespace = options.namespace;
    this.#log = options.log;
  }

  /** @param sinceMs undefined: the mark comes off */
  mark(
    volume: PersistentVolume,
    sinceMs: number | undefined,
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    const { name, resourceVersion } = volume.metadata;
    const annotations = { [nodeLostSince]: sinceMs === undefined ? null : textOf(sinceMs) };
    const body = { metadata: { resourceVersion, annotations } };
    return this.#api.patch('PersistentVolume', { name }, { type: 'merge', body }, signal);
  }

  async tombstones(signal: AbortSignal, labelSelector: string): Promise<readonly FoundTombstone[]> {
    const list = { namespace: this.#namespace, labelSelector };
    const { items } = await this.#api.list('ConfigMap', list, signal);
    return items.flatMap((object) => {
      const stone = readTombstone(object);
      if (stone === undefined && object.metadata.name.startsWith('loam-tombstone-'))
        this.#log.warn(
          { configMap: object.metadata.name },
          'a tombstone cannot be read and is left as it is',
        );
      return stone === undefined ? [] : [{ object, stone }];
    });
  }

  /** @throws Error where what has that name cannot be read: then nothing may be let go */
  async tombstone(name: string, signal: AbortSignal): Promise<FoundTombstone | undefined> {
    const object = await lookUp(this.#api, 'ConfigMap', { namespace: this.#namespace, name }, signal);
    if (object === undefined) return undefined;
    const stone = readTombstone(object);
    if (stone === undefined)
      throw new Error(`ConfigMap ${this.#namespace}/${name} is no tombstone; remove it`);
    return { object, stone };
  }

  /** One of another PV over the same data makes room: that PV's own end is past. */
  async raise(stone: Tombstone, signal: AbortSignal): Promise<void> {
    const object = buildTombstone(stone, this.#namespace);
    try {
      await this.#api.create('ConfigMap', object, signal);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const found = await this.tombstone(object.metadata.name, signal);
      if (found === undefined || found.stone.volumeUid === stone.volumeUid) return;
      await this.drop(found, signal);
      await this.#api.create('ConfigMap', object, signal);
    }
  }

  /** The claim is there again, and what is left to do is its node's. */
  async close(found: FoundTombstone, signal: AbortSignal): Promise<void> {
    await this.#write(found, { recreate: 'done', claim: null }, signal);
  }

  /** Nobody wants the claim any more; the rest goes on. */
  async forgetClaim(found: FoundTombstone, signal: AbortSignal): Promise<void> {
    await this.#write(found, { claim: null }, signal);
  }

  drop({ object }: FoundTombstone, signal: AbortSignal): Promise<void> {
    const { namespace = '', name } = object.metadata;
    return this.#gone('ConfigMap', { namespace, name }, uidOf(object), signal);
  }

  deleteClaim(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const { namespace = '', name } = claim.metadata;
    return this.#gone('PersistentVolumeClaim', { namespace, name }, uidOf(claim), signal);
  }

  /** Pods on this node that use the claim; read when they are needed, for a cache of pods would be the largest of all. */
  async podsOf(
    claim: PersistentVolumeClaim,
    topologyValue: string,
    signal: AbortSignal,
  ): Promise<readonly Pod[]> {
    const { namespace = '' } = claim.metadata;
    const isWanted = (pod: Pod): boolean =>
      labelValueOf(pod.spec?.nodeName ?? '') === topologyValue && usesClaim(pod, claim);
    const selector = isName(topologyValue) ? { fieldSelector: `spec.nodeName=${topologyValue}` } : {};
    return (await this.#api.list('Pod', { namespace, ...selector, keep: isWanted }, signal)).items;
  }

  /** @param isForced without kubelet, for it is not there to say that the pod has ended */
  async endPod({ metadata }: Pod, isForced: boolean, signal: AbortSignal): Promise<void> {
    if (!isForced && metadata.deletionTimestamp !== undefined) return;
    const { namespace = '', name } = metadata;
    await this.#gone('Pod', { namespace, name }, uidOf({ metadata }), signal, isForced ? 0 : undefined);
  }

  /**
   * DELETE first, as wherever a PV of ours ends: what a crash leaves says by itself what is to be done. Only the PV as it was judged: one
   * that was undeleted since is somebody's.
   *
   * @throws ApiError Conflict where it was changed meanwhile
   */
  async removeVolume(volume: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { name, deletionTimestamp, finalizers, resourceVersion } = volume.metadata;
    if (deletionTimestamp === undefined) {
      const judged = { uid: uidOf(volume), ...(resourceVersion === undefined ? {} : { resourceVersion }) };
      try {
        await this.#api.remove('PersistentVolume', { name }, signal, judged);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    if (finalizers?.includes(provisionerFinalizer) !== true) return;
    const body = {
      metadata: { uid: uidOf(volume), '$deleteFromPrimitiveList/finalizers': [provisionerFinalizer] },
    };
    try {
      await this.#api.patch('PersistentVolume', { name }, { type: 'strategic', body }, signal);
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  /** @returns false where its namespace goes or is gone: then nobody wants it any more */
  async recreateClaim(manifest: PersistentVolumeClaim, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#api.create('PersistentVolumeClaim', manifest, signal);
    } catch (error) {
      if (isNotFound(error) || (error instanceof ApiError && error.message.includes('being terminated')))
        return false;
      // a StatefulSet or a person was faster
      if (!isAlreadyExists(error)) throw error;
    }
    return true;
  }

  async #write({ object }: FoundTombstone, data: object, signal: AbortSignal): Promise<void> {
    const { namespace = '', name, resourceVersion } = object.metadata;
    const body = { metadata: { resourceVersion }, data };
    await this.#api.patch('ConfigMap', { namespace, name }, { type: 'merge', body }, signal);
  }

  async #gone(
    kind: 'ConfigMap' | 'PersistentVolumeClaim' | 'Pod',
    key: ObjectKey,
    uid: string,
    signal: AbortSignal,
    gracePeriodSeconds?: number,
  ): Promise<void> {
    try {
      const options = { uid, ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }) };
      await this.#api.remove(kind, key, signal, options);
    } catch (error) {
      // gone, or another one of its name: the next look says which
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}
