import type { KubeApi } from '../kube/kube-api.ts';
import type { PersistentVolume } from '../kube/objects.ts';

interface Look {
  readonly found: Promise<readonly PersistentVolume[]>;
  /** of whoever asked first: with it the look ends for everybody */
  readonly by: AbortSignal;
}

/**
 * Asks the API server which PVs have a CSI handle: a list of all of them, of which only the wanted are kept, page by page. Everybody who
 * asks while an answer is on its way shares the next one, so that a thousand who ask at once cost two lists.
 */
export class HandleLook {
  readonly #api: Pick<KubeApi, 'list'>;
  readonly #labelSelector: string | undefined;
  /** handle → how many wait for the look that is to begin next, or is under way */
  readonly #wanted = new Map<string, number>();
  #running: Promise<unknown> = Promise.resolve();
  #next: Look | undefined;

  /** @param labelSelector unset: of all PVs */
  constructor(api: Pick<KubeApi, 'list'>, labelSelector?: string) {
    this.#api = api;
    this.#labelSelector = labelSelector;
  }

  /** Every one that there was when this was called, of any driver. @throws what the list threw: then nothing is known */
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

  /** Looks again where the one who began the look has given up. */
  async #look(signal: AbortSignal): Promise<readonly PersistentVolume[]> {
    for (;;) {
      const { found, by } = this.#shared(signal);
      try {
        return await found;
      } catch (error) {
        if (signal.aborted || !by.aborted) throw error;
      }
    }
  }

  /** A look that begins after this call. */
  #shared(signal: AbortSignal): Look {
    this.#next ??= {
      by: signal,
      found: this.#running
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
        }),
    };
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
