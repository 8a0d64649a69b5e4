import { isAlreadyExists, isNotFound } from '../../kube/api-error.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { CsiStorageCapacity } from '../../kube/objects.ts';
import { Reflector } from '../../kube/reflector.ts';
import { keyOf, ObjectStore } from '../../kube/store.ts';
import type { Clock } from '../../model/clock.ts';
import type { Log } from '../../model/log.ts';
import type { Metrics } from '../../model/metrics.ts';
import { capacitySelector, isOwnCapacity, type CapacityScope } from './capacity-object.ts';

interface CapacityObjectsOptions {
  readonly api: KubeApi;
  readonly scope: CapacityScope;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** somebody else changed one, or deleted it */
  readonly onForeignChange: (isDeleted: boolean) => void;
}

/** The capacity objects of this node as the API server has them, and the writes to them. */
export class CapacityObjects {
  readonly #options: CapacityObjectsOptions;
  readonly #store = new ObjectStore<CsiStorageCapacity>();
  readonly #reflector: Reflector<'CSIStorageCapacity'>;
  /** our own answers are announced by the store as well */
  #isOurDoing = false;

  constructor(options: CapacityObjectsOptions) {
    this.#options = options;
    const { scope } = options;
    this.#reflector = new Reflector({
      ...options,
      kind: 'CSIStorageCapacity',
      list: { namespace: scope.namespace, labelSelector: capacitySelector(scope) },
      store: this.#store,
    });
    this.#reflector.onChange(({ previous, current }) => {
      if (!this.#isOurDoing) options.onForeignChange(previous !== undefined && current === undefined);
    });
  }

  /** Resolves when they were listed once. @throws the signal's reason when it aborts first */
  async start(signal: AbortSignal): Promise<void> {
    this.#reflector.start(signal);
    await this.#reflector.synced;
  }

  get(name: string): CsiStorageCapacity | undefined {
    const found = this.#store.get(keyOf({ namespace: this.#options.scope.namespace, name }));
    return found !== undefined && isOwnCapacity(found, this.#options.scope) ? found : undefined;
  }

  all(): readonly CsiStorageCapacity[] {
    return [...this.#store.list()].filter((object) => isOwnCapacity(object, this.#options.scope));
  }

  /**
   * @throws CapacityNameTaken where somebody else has an object of that name; what the API server answers
   */
  async create(wanted: CsiStorageCapacity, signal: AbortSignal): Promise<void> {
    const { api, scope } = this.#options;
    try {
      this.#put(await api.create('CSIStorageCapacity', wanted, signal));
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      // an answer of ours that got lost, or a watch that is late: the next round makes it right
      const found = await api.get('CSIStorageCapacity', wanted.metadata, signal);
      if (!isOwnCapacity(found, scope)) throw new CapacityNameTaken(keyOf(found));
      this.#put(found);
    }
  }

  async patch(name: string, body: object, signal: AbortSignal): Promise<void> {
    const { api, scope, onForeignChange } = this.#options;
    const key = { namespace: scope.namespace, name };
    try {
      this.#put(await api.patch('CSIStorageCapacity', key, { type: 'merge', body }, signal));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.#forget(name);
      onForeignChange(true);
    }
  }

  async remove({ metadata }: CsiStorageCapacity, signal: AbortSignal): Promise<void> {
    const { name, namespace = '', uid } = metadata;
    try {
      await this.#options.api.remove(
        'CSIStorageCapacity',
        { namespace, name },
        signal,
        uid === undefined ? {} : { uid },
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    this.#forget(name);
  }

  #put(object: CsiStorageCapacity): void {
    this.#doOurs(() => this.#store.put(object));
  }

  #forget(name: string): void {
    this.#doOurs(() => this.#store.remove(keyOf({ namespace: this.#options.scope.namespace, name })));
  }

  #doOurs(change: () => void): void {
    this.#isOurDoing = true;
    try {
      change();
    } finally {
      this.#isOurDoing = false;
    }
  }
}

class CapacityNameTaken extends Error {
  override name = 'CapacityNameTaken';

  constructor(key: string) {
    super(`CSIStorageCapacity ${key} is somebody else's, by its labels; it is left alone`);
  }
}
