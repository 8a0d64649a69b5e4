import type { KubeApi, Patch } from '../../kube/kube-api.ts';
import type { VolumeSnapshotContent } from '../../kube/objects.ts';
import type { Clock } from '../../model/clock.ts';
import type { DriverSnapshot } from '../../model/csi-driver.ts';
import { toldText } from '../../model/told-text.ts';
import type { Consistency } from '../../model/volume.ts';
import { nodeLabel } from '../../claims/annotations.ts';
import type { OwnSide } from '../../claims/volume-facts.ts';
import { isMarkedCreating } from './content-facts.ts';
import { beingCreated, consistencyNote, contentFinalizer } from './protocol.ts';

type Status = NonNullable<VolumeSnapshotContent['status']>;

/**
 * What this loop writes on contents. Each write names the uid, so that none hits another content of the same name; those that depend on
 * what was judged name the resourceVersion too. Merge patches: custom resources know no strategic ones.
 */
export class ContentWrites {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #own: Pick<OwnSide, 'ownDriver' | 'topologyValue'>;
  readonly #store: (content: VolumeSnapshotContent) => void;

  constructor(options: {
    readonly api: KubeApi;
    readonly clock: Clock;
    readonly own: Pick<OwnSide, 'ownDriver' | 'topologyValue'>;
    /** told every answer, ahead of the watch */
    readonly store: (content: VolumeSnapshotContent) => void;
  }) {
    this.#api = options.api;
    this.#clock = options.clock;
    this.#own = options.own;
    this.#store = options.store;
  }

  /** Before the driver is asked: from now on the content does not go before it is known what the driver did, and whose it is stands on it. */
  async mark(content: VolumeSnapshotContent, signal: AbortSignal): Promise<VolumeSnapshotContent> {
    if (isMarkedCreating(content)) return this.label(content, signal);
    return this.#judged(content, { labels: this.#labels(), annotations: { [beingCreated]: 'yes' } }, signal);
  }

  async label(content: VolumeSnapshotContent, signal: AbortSignal): Promise<VolumeSnapshotContent> {
    if (content.metadata.labels?.[nodeLabel] === this.#own.topologyValue) return content;
    return this.#judged(content, { labels: this.#labels() }, signal);
  }

  /** It is known what the driver did. */
  async unmark(
    content: VolumeSnapshotContent,
    consistency: Consistency | undefined,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const note = consistency === undefined ? {} : { [consistencyNote]: consistency };
    const isNoted =
      consistency === undefined || content.metadata.annotations?.[consistencyNote] === consistency;
    if (!isMarkedCreating(content) && isNoted) return content;
    return this.#metadata(content, { annotations: { ...note, [beingCreated]: null } }, signal);
  }

  /**
   * What the driver says of the snapshot. What stands there already of its handle, time and size stays. A time says that it is cut, and
   * that its source may change: of our own driver's that is when it is ready, since one that is made anew, after a restart in the
   * middle, is of another moment; another's tells it with its first answer.
   */
  async saveSnapshot(
    content: VolumeSnapshotContent,
    snapshot: DriverSnapshot,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const known = content.status ?? {};
    const createdAtMs = snapshot.createdAtMs > 0 ? snapshot.createdAtMs : this.#clock.nowMs();
    const settled: Status = {
      creationTime: createdAtMs * 1_000_000,
      ...(snapshot.sizeBytes > 0n ? { restoreSize: Number(snapshot.sizeBytes) } : {}),
    };
    const isCut = snapshot.isReady || !this.#own.ownDriver;
    const told: Status = { snapshotHandle: snapshot.snapshotId, ...(isCut ? settled : {}) };
    const next = { ...told, ...known, readyToUse: snapshot.isReady };
    const isSame =
      known.readyToUse === next.readyToUse &&
      known.snapshotHandle === next.snapshotHandle &&
      known.creationTime === next.creationTime &&
      known.restoreSize === next.restoreSize;
    if (isSame) return content;
    const { error: _, ...status } = next;
    return this.#status(content, snapshot.isReady ? { ...status, error: null } : status, signal);
  }

  /** Why there is no snapshot yet. The same text again is no news. */
  async saveError(
    content: VolumeSnapshotContent,
    text: string,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const message = toldText(text);
    if (content.status?.error?.message === message) return content;
    const error = { time: new Date(this.#clock.nowMs()).toISOString(), message };
    return this.#status(content, { readyToUse: false, error }, signal);
  }

  /** The snapshot is gone: whoever reads this later need not ask the driver again. */
  async clearSnapshot(content: VolumeSnapshotContent, signal: AbortSignal): Promise<VolumeSnapshotContent> {
    const nothing = { snapshotHandle: null, creationTime: null, restoreSize: null, error: null };
    return this.#status(content, { ...nothing, readyToUse: false }, signal);
  }

  /** Lets the content go. The list is written as a whole, so it has to be the one that was read. */
  async release(content: VolumeSnapshotContent, signal: AbortSignal): Promise<void> {
    const { name, uid, resourceVersion, finalizers = [] } = content.metadata;
    const kept = finalizers.filter((finalizer) => finalizer !== contentFinalizer);
    const body = { metadata: { uid, resourceVersion, finalizers: kept } };
    await this.#api.patch('VolumeSnapshotContent', { name }, { type: 'merge', body }, signal);
  }

  #labels(): Record<string, string> {
    return { [nodeLabel]: this.#own.topologyValue };
  }

  #judged(
    content: VolumeSnapshotContent,
    metadata: object,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const { resourceVersion } = content.metadata;
    return this.#metadata(content, { ...metadata, resourceVersion }, signal);
  }

  #metadata(
    content: VolumeSnapshotContent,
    metadata: object,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const { uid } = content.metadata;
    return this.#patch(content, { type: 'merge', body: { metadata: { uid, ...metadata } } }, signal);
  }

  #status(
    content: VolumeSnapshotContent,
    status: object,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent> {
    const { uid } = content.metadata;
    return this.#patch(content, { type: 'merge', body: { metadata: { uid }, status } }, signal, 'status');
  }

  async #patch(
    content: VolumeSnapshotContent,
    patch: Patch,
    signal: AbortSignal,
    subresource?: 'status',
  ): Promise<VolumeSnapshotContent> {
    const { name } = content.metadata;
    const written = await this.#api.patch('VolumeSnapshotContent', { name }, patch, signal, subresource);
    this.#store(written);
    return written;
  }
}
