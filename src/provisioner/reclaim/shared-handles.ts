import { nodeLabel } from '../../claims/annotations.ts';
import type { KubeApi } from '../../kube/kube-api.ts';
import type { PersistentVolume } from '../../kube/objects.ts';
import { HandleLook } from '../handle-look.ts';
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
