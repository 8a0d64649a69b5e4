import { nodeLabel } from '../../claims/annotations.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { ClusterView } from '../watches.ts';

/**
 * Which PVs stand for a volume, asked before its data is destroyed. A scoped watch knows those with this node's label; one that a
 * person has just written, or that lost its label, has none, so those without a label are asked of the API server.
 */
export class SharedHandles {
  readonly #watches: ClusterView;
  readonly #unlabelled: HandleLook;
  readonly #all: HandleLook;

  constructor(options: { readonly api: KubeApi; readonly watches: ClusterView }) {
    this.#watches = options.watches;
    this.#unlabelled = new HandleLook(options.api, `!${nodeLabel}`);
    this.#all = new HandleLook(options.api);
  }

  /**
   * PVs with this CSI handle, of any driver: every one that there was when this was called.
   *
   * @throws what the list threw: then nothing is known
   */
  async volumesOfHandle(handle: string, signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    if (!this.#watches.isScoped) return this.#watches.volumesOfHandle(handle);
    const unlabelled = await this.#unlabelled.volumesOfHandle(handle, signal);
    // the watch afterwards: one that was given its label meanwhile is in either
    return [...this.#watches.volumesOfHandle(handle), ...unlabelled];
  }

  /** The same, from the API server alone: nothing that was written before this call is missing. @throws as above */
  liveVolumesOfHandle(handle: string, signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    return this.#all.volumesOfHandle(handle, signal);
  }
}

/** A list of PVs, of which only the wanted are kept, page by page; everybody who asks while an answer is on its way shares the next one. */
class HandleLook {
  readonly #api: KubeApi;
  readonly #labelSelector: string | undefined;
  /** handle → how many wait for the look that is to begin next, or is under way */
  readonly #wanted = new Map<string, number>();
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<readonly PersistentVolume[]> | undefined;

  constructor(api: KubeApi, labelSelector?: string) {
    this.#api = api;
    this.#labelSelector = labelSelector;
  }

  async volumesOfHandle(handle: string, signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    this.#wanted.set(handle, (this.#wanted.get(handle) ?? 0) + 1);
    try {
      const found = await this.#look(signal);
      signal.throwIfAborted();
      return found.filter(({ spec }) => spec.csi?.volumeHandle === handle);
    } finally {
      const others = (this.#wanted.get(handle) ?? 1) - 1;
      if (others === 0) this.#wanted.delete(handle);
      else this.#wanted.set(handle, others);
    }
  }

  /** A look that begins after this call. */
  #look(signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        const look = this.#list(signal);
        // nobody has to hear of it here
        this.#running = look.then(
          () => {},
          () => {},
        );
        return look;
      });
    return this.#next;
  }

  async #list(signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    const keep = ({ spec }: PersistentVolume): boolean => this.#wanted.has(spec.csi?.volumeHandle ?? '');
    const labelSelector = this.#labelSelector;
    const options = labelSelector === undefined ? { keep } : { labelSelector, keep };
    const { items } = await this.#api.list('PersistentVolume', options, signal);
    return items;
  }
}
