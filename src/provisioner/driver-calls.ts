import type { Clock } from '../model/clock.ts';
import type {
  CallContext,
  Capacity,
  CreateSnapshotRequest,
  CreateVolumeRequest,
  CsiDriver,
  DeleteVolumeRequest,
  DriverSnapshot,
  DriverVolume,
  ExpandedVolume,
  ExpandVolumeRequest,
  GetCapacityRequest,
  ListSnapshotsRequest,
  ModifyVolumeRequest,
  SnapshotPage,
} from '../model/csi-driver.ts';
import { messageOf } from '../model/errors.ts';
import type { Metrics } from '../model/metrics.ts';
import { CsiError, statusCodeOf, type StatusCode } from '../model/status-code.ts';

/** The driver's verbs that the loops use, with upstream's deadline and metric around each call. */
export class DriverCalls {
  readonly #driver: CsiDriver;
  readonly #driverName: string;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #onSpaceUsed: () => void;

  constructor(options: {
    readonly driver: CsiDriver;
    readonly driverName: string;
    readonly timeoutMs: number;
    readonly clock: Clock;
    readonly metrics: Metrics;
    /** told after each call that may have taken space or given it back, whatever it was answered */
    readonly onSpaceUsed?: () => void;
  }) {
    this.#driver = options.driver;
    this.#driverName = options.driverName;
    this.#timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
    this.#metrics = options.metrics;
    this.#onSpaceUsed = options.onSpaceUsed ?? (() => {});
  }

  createVolume(request: CreateVolumeRequest, signal: AbortSignal): Promise<DriverVolume> {
    const made = this.#measured('CreateVolume', signal, (call) => this.#driver.createVolume(request, call));
    return made.finally(this.#onSpaceUsed);
  }

  deleteVolume(request: DeleteVolumeRequest, signal: AbortSignal): Promise<void> {
    const done = this.#measured('DeleteVolume', signal, (call) => this.#driver.deleteVolume(request, call));
    return done.finally(this.#onSpaceUsed);
  }

  getCapacity(request: GetCapacityRequest, signal: AbortSignal): Promise<Capacity> {
    return this.#measured('GetCapacity', signal, (call) => this.#driver.getCapacity(request, call));
  }

  expandVolume(request: ExpandVolumeRequest, signal: AbortSignal): Promise<ExpandedVolume> {
    const grown = this.#measured('ControllerExpandVolume', signal, (call) =>
      this.#driver.expandVolume(request, call),
    );
    return grown.finally(this.#onSpaceUsed);
  }

  modifyVolume(request: ModifyVolumeRequest, signal: AbortSignal): Promise<void> {
    return this.#measured('ControllerModifyVolume', signal, (call) =>
      this.#driver.modifyVolume(request, call),
    );
  }

  createSnapshot(request: CreateSnapshotRequest, signal: AbortSignal): Promise<DriverSnapshot> {
    const made = this.#measured('CreateSnapshot', signal, (call) =>
      this.#driver.createSnapshot(request, call),
    );
    return made.finally(this.#onSpaceUsed);
  }

  deleteSnapshot(snapshotId: string, signal: AbortSignal): Promise<void> {
    const done = this.#measured('DeleteSnapshot', signal, (call) =>
      this.#driver.deleteSnapshot(snapshotId, call),
    );
    return done.finally(this.#onSpaceUsed);
  }

  listSnapshots(request: ListSnapshotsRequest, signal: AbortSignal): Promise<SnapshotPage> {
    return this.#measured('ListSnapshots', signal, (call) => this.#driver.listSnapshots(request, call));
  }

  async #measured<T>(
    method: string,
    signal: AbortSignal,
    run: (call: CallContext) => Promise<T>,
  ): Promise<T> {
    const startMs = this.#clock.nowMs();
    let status = 'OK';
    try {
      return await this.#withDeadline(method, signal, run);
    } catch (error) {
      status = grpcName(statusCodeOf(error) ?? 'UNKNOWN');
      throw error;
    } finally {
      this.#metrics.observeSeconds(
        'csi_sidecar_operations_seconds',
        {
          driver_name: this.#driverName,
          method_name: `/csi.v1.Controller/${method}`,
          grpc_status_code: status,
        },
        (this.#clock.nowMs() - startMs) / 1000,
      );
    }
  }

  /** Work of our own driver that CSI has no call for, with the deadline of one. */
  within<T>(doing: string, signal: AbortSignal, run: (call: CallContext) => Promise<T>): Promise<T> {
    return this.#withDeadline(doing, signal, run).finally(this.#onSpaceUsed);
  }

  /** A driver that does not heed the signal must not hold a worker either, so the deadline is also raced. */
  async #withDeadline<T>(
    method: string,
    signal: AbortSignal,
    run: (call: CallContext) => Promise<T>,
  ): Promise<T> {
    const cut = new AbortController();
    const stopped = Promise.withResolvers<never>();
    const stop = (error: CsiError): void => {
      cut.abort(error);
      stopped.reject(error);
    };
    const onAbort = (): void => stop(new CsiError('CANCELLED', `${method} was stopped with the provisioner`));
    if (signal.aborted) throw new CsiError('CANCELLED', `${method} was not begun: the provisioner stops`);
    signal.addEventListener('abort', onAbort, { once: true });
    const cancel = this.#clock.after(this.#timeoutMs, () => {
      stop(new CsiError('DEADLINE_EXCEEDED', `${method} did not answer within ${this.#timeoutMs / 1000} s`));
    });
    try {
      const deadlineMs = this.#clock.nowMs() + this.#timeoutMs;
      return await Promise.race([run({ signal: cut.signal, deadlineMs }), stopped.promise]);
    } finally {
      cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }
}

/** `DEADLINE_EXCEEDED` as gRPC's Go library, and so every dashboard, spells it. */
export function grpcName(code: StatusCode): string {
  if (code === 'CANCELLED') return 'Canceled';
  return code
    .toLowerCase()
    .split('_')
    .map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`)
    .join('');
}

/** A driver's answer in the words that people know from upstream's events. */
export function describeDriverError(error: unknown): string {
  const code = statusCodeOf(error);
  return code === undefined
    ? messageOf(error)
    : `rpc error: code = ${grpcName(code)} desc = ${messageOf(error)}`;
}
