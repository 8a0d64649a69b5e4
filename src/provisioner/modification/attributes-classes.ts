import type { KubeApi } from '../../kube/kube-api.ts';
import type { VolumeAttributesClass } from '../../kube/objects.ts';
import { OptionalReflector } from '../../kube/optional-reflector.ts';
import { ObjectStore } from '../../kube/store.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';

/** The cluster's VolumeAttributesClasses; none where it is too old to serve them. */
export class AttributesClasses {
  readonly #store = new ObjectStore<VolumeAttributesClass>();
  readonly #reflector: OptionalReflector<'VolumeAttributesClass'>;

  constructor(options: {
    readonly api: KubeApi;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    this.#reflector = new OptionalReflector({
      ...options,
      kind: 'VolumeAttributesClass',
      store: this.#store,
    });
  }

  get(name: string): VolumeAttributesClass | undefined {
    return this.#store.get(name);
  }

  /** Called with the name of a class that came or changed. */
  onArrival(handler: (name: string) => void): void {
    this.#reflector.onChange(({ current }) => {
      if (current !== undefined) handler(current.metadata.name);
    });
  }

  /** Resolves when they were listed once, or cannot be. */
  async start(signal: AbortSignal): Promise<void> {
    this.#reflector.start(signal);
    await this.#reflector.settled;
  }
}
