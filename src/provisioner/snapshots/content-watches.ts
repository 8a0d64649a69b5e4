import type { KubeApi } from '../../kube/kube-api.ts';
import type { VolumeSnapshotClass, VolumeSnapshotContent } from '../../kube/objects.ts';
import { OptionalReflector } from '../../kube/optional-reflector.ts';
import { ObjectStore } from '../../kube/store.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { handleOf } from './content-facts.ts';

type ContentChange = {
  readonly previous: VolumeSnapshotContent | undefined;
  readonly current: VolumeSnapshotContent | undefined;
};

/**
 * What is known of contents and snapshot classes, in a cluster that may have neither. Contents of all nodes: whose one is shows only
 * when it is seen.
 */
export class ContentWatches {
  readonly #contents = new ObjectStore<VolumeSnapshotContent>({
    source: ({ spec }) => (spec.source.volumeHandle === undefined ? [] : [spec.source.volumeHandle]),
    handle: (content) => [handleOf(content)],
    class: ({ spec }) => (spec.volumeSnapshotClassName === undefined ? [] : [spec.volumeSnapshotClassName]),
  });
  readonly #classes = new ObjectStore<VolumeSnapshotClass>();
  readonly #contentReflector: OptionalReflector<'VolumeSnapshotContent'>;
  readonly #classReflector: OptionalReflector<'VolumeSnapshotClass'>;

  constructor(options: {
    readonly api: KubeApi;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    this.#contentReflector = new OptionalReflector({
      ...options,
      kind: 'VolumeSnapshotContent',
      store: this.#contents,
    });
    this.#classReflector = new OptionalReflector({
      ...options,
      kind: 'VolumeSnapshotClass',
      store: this.#classes,
    });
  }

  onContent(handler: (change: ContentChange) => void): void {
    this.#contentReflector.onChange(handler);
  }

  /** Told the name of a class that came or changed. */
  onClass(handler: (name: string) => void): void {
    this.#classReflector.onChange(({ current }) => {
      if (current !== undefined) handler(current.metadata.name);
    });
  }

  /** Resolves when it is known what there is of either kind, or that there is none. Rejects when the signal aborts first. */
  async start(signal: AbortSignal): Promise<void> {
    const all = [this.#contentReflector, this.#classReflector];
    for (const reflector of all) reflector.start(signal);
    await Promise.all(all.map(({ settled }) => settled));
  }

  content(name: string): VolumeSnapshotContent | undefined {
    return this.#contents.get(name);
  }

  contents(): Iterable<VolumeSnapshotContent> {
    return this.#contents.list();
  }

  contentsOfSource(volumeId: string): readonly VolumeSnapshotContent[] {
    return this.#contents.byIndex('source', volumeId);
  }

  contentsOfHandle(snapshotId: string): readonly VolumeSnapshotContent[] {
    return this.#contents.byIndex('handle', snapshotId);
  }

  contentsOfClass(className: string): readonly VolumeSnapshotContent[] {
    return this.#contents.byIndex('class', className);
  }

  classOf({ spec }: VolumeSnapshotContent): VolumeSnapshotClass | undefined {
    return spec.volumeSnapshotClassName === undefined
      ? undefined
      : this.#classes.get(spec.volumeSnapshotClassName);
  }

  /** Writes an API answer through, ahead of the watch. */
  putContent(content: VolumeSnapshotContent): void {
    this.#contents.put(content);
  }

  measure(metrics: Metrics): void {
    metrics.gauge('loam_watched_objects', { kind: 'VolumeSnapshotContent' }, this.#contents.size);
  }
}
