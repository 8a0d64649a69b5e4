import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { onRelease, reclaiming, retainedUntil } from '../../claims/annotations.ts';
import type { ClusterView } from '../watches.ts';
import { decideFinalizer, finalizerPatch } from './decide-finalizer.ts';
import { isMarked } from './decide-reclaim.ts';

/**
 * What the reclaim loop writes on a PV. Each but the finalizer's holds only for the PV as it was judged: whoever was faster makes it
 * fail with Conflict. @throws ApiError
 */
export class VolumeWrites {
  readonly #api: KubeApi;
  readonly #watches: Pick<ClusterView, 'putVolume'>;

  constructor(options: { readonly api: KubeApi; readonly watches: Pick<ClusterView, 'putVolume'> }) {
    this.#api = options.api;
    this.#watches = options.watches;
  }

  /** From here on undelete refuses, and whoever undeletes by hand is found out by the mark. */
  async mark(volume: PersistentVolume, claimUid: string, signal: AbortSignal): Promise<PersistentVolume> {
    if (isMarked(volume, claimUid)) return volume;
    return this.#annotate(volume, { [reclaiming]: claimUid }, signal);
  }

  async unmark(volume: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    if (!isMarked(volume)) return volume;
    return this.#annotate(volume, { [reclaiming]: null }, signal);
  }

  retain(volume: PersistentVolume, untilMs: number, signal: AbortSignal): Promise<PersistentVolume> {
    return this.#annotate(volume, { [retainedUntil]: new Date(untilMs).toISOString() }, signal);
  }

  /** A PV that is somebody's again, or kept for good, is not retained until anything. */
  async unretain(volume: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    if (volume.metadata.annotations?.[retainedUntil] === undefined) return volume;
    return this.#annotate(volume, { [retainedUntil]: null }, signal);
  }

  /** Policy Recycle in words that kube-controller-manager leaves alone: it would only mark the PV Failed, again and again. */
  adoptRecycle({ metadata }: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    const { name, resourceVersion } = metadata;
    const body = {
      metadata: { resourceVersion, annotations: { [onRelease]: 'recycle' } },
      spec: { persistentVolumeReclaimPolicy: 'Retain' },
    };
    return this.#patch(name, { type: 'merge', body }, signal);
  }

  async syncFinalizer(volume: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    const { kind } = decideFinalizer(volume);
    return kind === 'keep' ? volume : this.#finalizer(volume, kind, signal);
  }

  /** Lets a PV go that is being deleted, without its data. */
  letGo(volume: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    return this.#finalizer(volume, 'remove', signal);
  }

  #finalizer(
    volume: PersistentVolume,
    kind: 'add' | 'remove',
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    const body = finalizerPatch(volume, kind);
    return this.#patch(volume.metadata.name, { type: 'strategic', body }, signal);
  }

  #annotate(
    { metadata: { name, resourceVersion } }: PersistentVolume,
    annotations: Readonly<Record<string, string | null>>,
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    return this.#patch(name, { type: 'merge', body: { metadata: { resourceVersion, annotations } } }, signal);
  }

  async #patch(
    name: string,
    patch: Parameters<KubeApi['patch']>[2],
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    const patched = await this.#api.patch('PersistentVolume', { name }, patch, signal);
    this.#watches.putVolume(patched);
    return patched;
  }
}
