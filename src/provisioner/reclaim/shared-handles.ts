import { nodeLabel } from '../../claims/annotations.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import type { ClusterView } from '../watches.ts';

/**
 * Which PVs stand for a volume, asked before its data is destroyed. A scoped watch knows those with this node's label; one that a
 * person has just written, or that lost its label, has none, so those without a label are asked of the API server. Its answer holds
 * other drivers' PVs too: they are dropped page by page, and everybody who asks while an answer is on its way shares the next one.
 */
export class SharedHandles {
  readonly #api: KubeApi;
  readonly #watches: ClusterView;
  /** handle → how many wait for the look that is to begin next, or is under way */
  readonly #wanted = new Map<string, number>();
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<readonly PersistentVolume[]> | undefined;

  constructor(options: { readonly api: KubeApi; readonly watches: ClusterView }) {
    this.#api = options.api;
    this.#watches = options.watches;
  }

  /**
   * PVs with this CSI handle, of any driver: every one that there was when this was called.
   *
   * @throws what the list threw: then nothing is known
   */
  async volumesOfHandle(handle: string, signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    if (!this.#watches.isScoped) return this.#watches.volumesOfHandle(handle);
    this.#wanted.set(handle, (this.#wanted.get(handle) ?? 0) + 1);
    try {
      const unlabelled = await this.#look(signal);
      signal.throwIfAborted();
      // the watch afterwards: one that was given its label meanwhile is in either
      return [
        ...this.#watches.volumesOfHandle(handle),
        ...unlabelled.filter(({ spec }) => spec.csi?.volumeHandle === handle),
      ];
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
    const wanted = ({ spec }: PersistentVolume): boolean => this.#wanted.has(spec.csi?.volumeHandle ?? '');
    const { items } = await this.#api.list(
      'PersistentVolume',
      { labelSelector: `!${nodeLabel}`, keep: wanted },
      signal,
    );
    return items;
  }
}
