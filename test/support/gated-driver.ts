import type {
  CallContext,
  Capacity,
  CreateVolumeRequest,
  CsiDriver,
  DeleteVolumeRequest,
  DriverVolume,
  GetCapacityRequest,
} from '../../src/model/csi-driver.ts';

export interface Gate {
  /** resolves when a call stands before it; rejects when none came within 10 s */
  readonly reached: Promise<void>;
  open(): void;
}

/** A driver that does its work and then keeps the answer back for as long as a test likes: a slow disk. */
export class GatedDriver implements CsiDriver {
  readonly #inner: CsiDriver;
  #next: { readonly arrive: () => void; readonly opened: Promise<void> } | undefined;

  constructor(inner: CsiDriver) {
    this.#inner = inner;
  }

  /** The next volume is made, and its answer waits at the gate. */
  holdNextCreate(): Gate {
    const arrival = Promise.withResolvers<void>();
    const opening = Promise.withResolvers<void>();
    const timer = setTimeout(() => arrival.reject(new Error('no volume was made within 10 s')), 10_000);
    const arrive = (): void => {
      clearTimeout(timer);
      arrival.resolve();
    };
    this.#next = { arrive, opened: opening.promise };
    return { reached: arrival.promise, open: opening.resolve };
  }

  async createVolume(request: CreateVolumeRequest, call: CallContext): Promise<DriverVolume> {
    const gate = this.#next;
    this.#next = undefined;
    const volume = await this.#inner.createVolume(request, call);
    gate?.arrive();
    await gate?.opened;
    return volume;
  }

  deleteVolume(request: DeleteVolumeRequest, call: CallContext): Promise<void> {
    return this.#inner.deleteVolume(request, call);
  }

  getCapacity(request: GetCapacityRequest, call: CallContext): Promise<Capacity> {
    return this.#inner.getCapacity(request, call);
  }

  expandVolume(...args: Parameters<CsiDriver['expandVolume']>): ReturnType<CsiDriver['expandVolume']> {
    return this.#inner.expandVolume(...args);
  }

  modifyVolume(...args: Parameters<CsiDriver['modifyVolume']>): ReturnType<CsiDriver['modifyVolume']> {
    return this.#inner.modifyVolume(...args);
  }

  createSnapshot(...args: Parameters<CsiDriver['createSnapshot']>): ReturnType<CsiDriver['createSnapshot']> {
    return this.#inner.createSnapshot(...args);
  }

  deleteSnapshot(...args: Parameters<CsiDriver['deleteSnapshot']>): ReturnType<CsiDriver['deleteSnapshot']> {
    return this.#inner.deleteSnapshot(...args);
  }

  listSnapshots(...args: Parameters<CsiDriver['listSnapshots']>): ReturnType<CsiDriver['listSnapshots']> {
    return this.#inner.listSnapshots(...args);
  }

  getPluginInfo(call: CallContext): ReturnType<CsiDriver['getPluginInfo']> {
    return this.#inner.getPluginInfo(call);
  }

  getControllerCapabilities(call: CallContext): ReturnType<CsiDriver['getControllerCapabilities']> {
    return this.#inner.getControllerCapabilities(call);
  }
}
