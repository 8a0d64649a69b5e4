import type {
  CallContext,
  Capacity,
  ControllerCapability,
  CreateVolumeRequest,
  CsiDriver,
  DeleteVolumeRequest,
  DriverVolume,
  GetCapacityRequest,
} from '../../src/model/csi-driver.ts';
import { Listeners } from '../../src/model/listeners.ts';
import { metadataKeys } from '../../src/model/class-parameters.ts';
import { CsiError } from '../../src/model/status-code.ts';
import { nodeSegments } from '../../src/model/topology.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import type { PoolTrouble, UnacknowledgedVolume, VolumeLedger } from '../../src/model/volume-ledger.ts';
import { poolUuidKey } from '../../src/model/volume.ts';

interface FakeVolume {
  readonly volume: DriverVolume;
  readonly request: CreateVolumeRequest;
  readonly createdAtMs: number;
  isAcknowledged: boolean;
}

/** A driver with a ledger, whose disk outlives the processes that use it: give the same one to the next provisioner. */
export class FakeCsiDriver implements CsiDriver, VolumeLedger {
  readonly volumes = new Map<string, FakeVolume>();
  readonly inUse = new Set<string>();
  /** ids whose bytes are still being removed */
  readonly removing = new Set<string>();
  readonly creates: CreateVolumeRequest[] = [];
  readonly deletes: DeleteVolumeRequest[] = [];
  capabilities: ReadonlySet<ControllerCapability> = new Set([
    'CREATE_DELETE_VOLUME',
    'SINGLE_NODE_MULTI_WRITER',
  ]);
  readonly released = new Listeners<string>();
  readonly spaceChanged = new Listeners<void>();
  troubles: readonly PoolTrouble[] = [];
  /** what GetCapacity answers; throw to fail */
  capacityOf: (request: GetCapacityRequest) => Capacity = () => ({ availableBytes: 1n << 40n });
  readonly capacityRequests: GetCapacityRequest[] = [];
  nowMs: () => number = () => 0;
  /** put in front of what would happen; throw to fail, `made` is what would be answered */
  onCreate: ((request: CreateVolumeRequest, call: CallContext) => Promise<void> | void) | undefined;
  afterCreate: ((made: DriverVolume) => Promise<DriverVolume> | DriverVolume) | undefined;
  onDelete: ((request: DeleteVolumeRequest) => Promise<void> | void) | undefined;
  onAcknowledge: ((volumeId: string) => void) | undefined;
  readonly #name: string;
  readonly #topologyValue: string;
  readonly #poolUuid: string;
  readonly #removed = new Listeners<string>();

  constructor(options: {
    readonly name: string;
    readonly topologyValue: string;
    readonly poolUuid?: string;
  }) {
    this.#name = options.name;
    this.#topologyValue = options.topologyValue;
    this.#poolUuid = options.poolUuid ?? 'pool-1';
  }

  async getPluginInfo(): Promise<{ readonly name: string; readonly vendorVersion: string }> {
    return { name: this.#name, vendorVersion: '0' };
  }

  async getControllerCapabilities(): Promise<ReadonlySet<ControllerCapability>> {
    return this.capabilities;
  }

  async createVolume(request: CreateVolumeRequest, call: CallContext): Promise<DriverVolume> {
    this.creates.push(request);
    await this.onCreate?.(request, call);
    const made = this.make(request);
    return (await this.afterCreate?.(made)) ?? made;
  }

  /** What createVolume does to the disk. */
  make(request: CreateVolumeRequest): DriverVolume {
    const volumeId = volumeIdOf(request.name);
    const known = this.volumes.get(volumeId);
    if (known !== undefined) {
      if (shapeOf(known.request) !== shapeOf(request)) {
        throw new CsiError('ALREADY_EXISTS', `volume ${request.name} exists with another shape`);
      }
      return known.volume;
    }
    const volume: DriverVolume = {
      volumeId,
      capacityBytes: request.capacityRange.requiredBytes,
      volumeContext: { [poolUuidKey]: this.#poolUuid },
      accessibleTopology: [nodeSegments(this.#topologyValue)],
    };
    this.volumes.set(volumeId, { volume, request, createdAtMs: this.nowMs(), isAcknowledged: false });
    return volume;
  }

  async deleteVolume(request: DeleteVolumeRequest): Promise<void> {
    this.deletes.push(request);
    await this.onDelete?.(request);
    const pool = request.volumeContext?.[poolUuidKey];
    const known = this.volumes.get(request.volumeId);
    if (known !== undefined && pool !== undefined && pool !== this.#poolUuid) {
      throw new CsiError(
        'FAILED_PRECONDITION',
        `volume ${request.volumeId} is of pool ${this.#poolUuid}, not ${pool}`,
      );
    }
    if (this.inUse.has(request.volumeId)) {
      throw new CsiError('FAILED_PRECONDITION', `volume ${request.volumeId} is mounted`);
    }
    this.volumes.delete(request.volumeId);
    if (this.removing.has(request.volumeId)) {
      throw new CsiError('ABORTED', `volume ${request.volumeId} is still being removed`);
    }
  }

  /** The last byte of a deleted volume goes. */
  finishRemoval(volumeId: string): void {
    this.removing.delete(volumeId);
    this.#removed.tell(volumeId);
  }

  async getCapacity(request: GetCapacityRequest): Promise<Capacity> {
    this.capacityRequests.push(request);
    return this.capacityOf(request);
  }

  unacknowledged(): readonly UnacknowledgedVolume[] {
    return [...this.volumes.values()]
      .filter(({ isAcknowledged }) => !isAcknowledged)
      .map((entry) => this.#recordOf(entry));
  }

  /** what a test says was staged; everything, unless told */
  readonly unused = new Set<string>();

  wasUsed(volumeId: string): boolean {
    return !this.unused.has(volumeId);
  }

  async acknowledge(volumeId: string): Promise<void> {
    this.onAcknowledge?.(volumeId);
    const known = this.volumes.get(volumeId);
    if (known !== undefined) known.isAcknowledged = true;
  }

  onRemoved(listener: (volumeId: string) => void): () => void {
    return this.#removed.add(listener);
  }

  onReleased(listener: (volumeId: string) => void): () => void {
    return this.released.add(listener);
  }

  onSpaceChanged(listener: () => void): () => void {
    return this.spaceChanged.add(listener);
  }

  poolTroubles(): readonly PoolTrouble[] {
    return this.troubles;
  }

  #recordOf({ volume, request, createdAtMs }: FakeVolume): UnacknowledgedVolume {
    const { parameters, name } = request;
    const uid = parameters[metadataKeys.claimUid];
    const clusterUid = parameters[metadataKeys.clusterUid];
    const claim = {
      namespace: parameters[metadataKeys.claimNamespace] ?? '',
      name: parameters[metadataKeys.claimName] ?? '',
    };
    return {
      volumeId: volume.volumeId,
      name,
      poolUuid: this.#poolUuid,
      createdAtMs,
      ...(uid === undefined ? {} : { claim: { ...claim, uid } }),
      ...(clusterUid === undefined ? {} : { clusterUid }),
    };
  }

  expandVolume(): Promise<never> {
    return Promise.reject(new Error('not faked yet'));
  }

  modifyVolume(): Promise<never> {
    return Promise.reject(new Error('not faked yet'));
  }

  createSnapshot(): Promise<never> {
    return Promise.reject(new Error('not faked yet'));
  }

  deleteSnapshot(): Promise<never> {
    return Promise.reject(new Error('not faked yet'));
  }

  listSnapshots(): Promise<never> {
    return Promise.reject(new Error('not faked yet'));
  }

  holdsVolume(volumeId: string): boolean {
    return this.volumes.has(volumeId);
  }

  holdsSnapshot(): boolean {
    return false;
  }
}

function shapeOf({ capacityRange, parameters }: CreateVolumeRequest): string {
  const metadata: readonly string[] = Object.values(metadataKeys);
  const shape = Object.entries(parameters).filter(([key]) => !metadata.includes(key));
  return JSON.stringify([String(capacityRange.requiredBytes), shape.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
