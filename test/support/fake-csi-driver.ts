import type {
  CallContext,
  Capacity,
  ControllerCapability,
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
} from '../../src/model/csi-driver.ts';
import { Listeners } from '../../src/model/listeners.ts';
import { metadataKeys } from '../../src/model/class-parameters.ts';
import { CsiError } from '../../src/model/status-code.ts';
import { nodeSegments } from '../../src/model/topology.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import type {
  AdoptedVolume,
  HeldVolume,
  PoolRoom,
  PoolTrouble,
  UnacknowledgedVolume,
  VolumeLedger,
} from '../../src/model/volume-ledger.ts';
import { poolUuidKey, type ContentSource } from '../../src/model/volume.ts';
import { FakeSnapshots } from './fake-snapshots.ts';

interface FakeVolume {
  volume: DriverVolume;
  readonly request: CreateVolumeRequest;
  readonly createdAtMs: number;
  isAcknowledged: boolean;
  /** of its attributes class, as ControllerModifyVolume left them */
  modified: Readonly<Record<string, string>>;
}

/** A driver with a ledger, whose disk outlives the processes that use it: give the same one to the next provisioner. */
export class FakeCsiDriver implements CsiDriver, VolumeLedger {
  readonly volumes = new Map<string, FakeVolume>();
  readonly inUse = new Set<string>();
  /** ids whose bytes are still being removed */
  readonly removing = new Set<string>();
  /** with hooks and records of their own */
  readonly snapshots = new FakeSnapshots(
    (volumeId) => this.volumes.get(volumeId)?.volume.capacityBytes,
    () => this.nowMs(),
  );
  readonly expands: ExpandVolumeRequest[] = [];
  readonly modifies: ModifyVolumeRequest[] = [];
  readonly creates: CreateVolumeRequest[] = [];
  readonly deletes: DeleteVolumeRequest[] = [];
  capabilities: ReadonlySet<ControllerCapability> = new Set([
    'CREATE_DELETE_VOLUME',
    'SINGLE_NODE_MULTI_WRITER',
    'EXPAND_VOLUME',
    'MODIFY_VOLUME',
    'CLONE_VOLUME',
    'CREATE_DELETE_SNAPSHOT',
    'LIST_SNAPSHOTS',
  ]);
  readonly released = new Listeners<string>();
  readonly spaceChanged = new Listeners<void>();
  troubles: readonly PoolTrouble[] = [];
  /** what `rooms` answers */
  poolRooms: readonly PoolRoom[] = [];
  readonly recycles: RecycleRequest[] = [];
  /** ids that are being emptied */
  readonly recycling = new Set<string>();
  /** what GetCapacity answers; throw to fail */
  capacityOf: (request: GetCapacityRequest) => Capacity = () => ({ availableBytes: 1n << 40n });
  readonly capacityRequests: GetCapacityRequest[] = [];
  nowMs: () => number = () => 0;
  /** put in front of what would happen; throw to fail, `made` is what would be answered */
  onCreate: ((request: CreateVolumeRequest, call: CallContext) => Promise<void> | void) | undefined;
  afterCreate: ((made: DriverVolume) => Promise<DriverVolume> | DriverVolume) | undefined;
  onDelete: ((request: DeleteVolumeRequest) => Promise<void> | void) | undefined;
  onRecycle: ((request: RecycleRequest, call: CallContext) => Promise<void> | void) | undefined;
  onExpand: ((request: ExpandVolumeRequest) => Promise<void> | void) | undefined;
  afterExpand: ((grown: ExpandedVolume) => Promise<ExpandedVolume> | ExpandedVolume) | undefined;
  onModify: ((request: ModifyVolumeRequest) => Promise<void> | void) | undefined;
  /** more than which no volume can have */
  largestBytes = 1n << 50n;
  /** what ControllerExpandVolume says of kubelet's part */
  nodeExpansionRequired = false;
  onAcknowledge: ((volumeId: string) => void) | undefined;
  onAdopt: ((volumeId: string) => Promise<void> | void) | undefined;
  /** volume id → what adopting it has said of its owner */
  readonly owners = new Map<string, Parameters<VolumeLedger['adopt']>[1]>();
  /** volume id → where its data lay before it was adopted */
  readonly origins = new Map<string, string>();
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
    const { contentSource, capacityRange, mutableParameters = {} } = request;
    const volume: DriverVolume = {
      volumeId,
      capacityBytes: this.#sizeFor(capacityRange.requiredBytes, contentSource),
      volumeContext: { [poolUuidKey]: this.#poolUuid },
      accessibleTopology: [nodeSegments(this.#topologyValue)],
      ...(contentSource === undefined ? {} : { contentSource }),
    };
    const entry = { volume, request, createdAtMs: this.nowMs(), isAcknowledged: false };
    this.volumes.set(volumeId, { ...entry, modified: mutableParameters });
    return volume;
  }

  #sizeFor(requiredBytes: bigint, source: ContentSource | undefined): bigint {
    if (source === undefined) return requiredBytes;
    const sizeBytes =
      source.kind === 'volume'
        ? this.volumes.get(source.volumeId)?.volume.capacityBytes
        : this.snapshots.byId.get(source.snapshotId)?.snapshot.sizeBytes;
    if (sizeBytes === undefined) throw new CsiError('NOT_FOUND', `there is no such source: ${idOf(source)}`);
    if (requiredBytes < sizeBytes)
      throw new CsiError('OUT_OF_RANGE', `${idOf(source)} has ${sizeBytes} bytes`);
    return requiredBytes;
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

  held(): readonly HeldVolume[] {
    return [...this.volumes.values()].map((entry) => this.#heldOf(entry));
  }

  heldOf(volumeId: string): readonly HeldVolume[] {
    const entry = this.volumes.get(volumeId);
    return entry === undefined ? [] : [this.#heldOf(entry)];
  }

  heldFor({ namespace, name }: Parameters<VolumeLedger['heldFor']>[0]): readonly HeldVolume[] {
    return this.held().filter(({ claim }) => claim?.namespace === namespace && claim.name === name);
  }

  /** ids that nobody can stage now */
  readonly closed = new Set<string>();

  close(volumeId: string): () => void {
    this.closed.add(volumeId);
    return () => void this.closed.delete(volumeId);
  }

  /** Empties a volume; while it is among `removing`, ABORTED, and a repeat after `finishRemoval` finds it ready. */
  async recycle(request: RecycleRequest, call: CallContext): Promise<void> {
    this.recycles.push(request);
    await this.onRecycle?.(request, call);
    const { volumeId, poolUuid } = request;
    const known = this.volumes.get(volumeId);
    if (known === undefined) throw new CsiError('NOT_FOUND', `there is no volume ${volumeId}`);
    if (poolUuid !== undefined && poolUuid !== this.#poolUuid) {
      throw new CsiError(
        'FAILED_PRECONDITION',
        `volume ${volumeId} is of pool ${this.#poolUuid}, not ${poolUuid}`,
      );
    }
    if (this.inUse.has(volumeId)) throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is mounted`);
    const isNothingToDo = this.unused.has(volumeId) || request.onlyBegun === true;
    if (isNothingToDo && !this.recycling.has(volumeId)) return;
    this.recycling.add(volumeId);
    if (this.removing.has(volumeId))
      throw new CsiError('ABORTED', `volume ${volumeId} is still being emptied`);
    this.recycling.delete(volumeId);
    this.unused.add(volumeId);
  }

  async adopt(...[volumeId, owner]: Parameters<VolumeLedger['adopt']>): Promise<AdoptedVolume> {
    await this.onAdopt?.(volumeId);
    const entry = this.#entryOf(volumeId);
    entry.isAcknowledged = true;
    this.owners.set(volumeId, { ...this.owners.get(volumeId), ...owner });
    const { volumeContext } = entry.volume;
    return { ...this.#heldOf(entry), accessModes: ['SINGLE_NODE_MULTI_WRITER'], volumeContext };
  }

  async rooms(): Promise<readonly PoolRoom[]> {
    return this.poolRooms;
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

  #heldOf(entry: FakeVolume): HeldVolume {
    const { volume, request, isAcknowledged } = entry;
    const { volumeId } = volume;
    const { parameters, capabilities } = request;
    const capability = capabilities[0];
    const className = parameters[metadataKeys.className];
    const adoptedFrom = this.origins.get(volumeId);
    return {
      ...this.#recordOf(entry),
      ...(className === undefined ? {} : { className }),
      poolName: 'default',
      backend: 'directory',
      accessType: capability?.access.kind ?? 'mount',
      sizeBytes: volume.capacityBytes,
      limit: 'enforced',
      sharing: parameters['sharing'] === 'node' ? 'node' : 'none',
      isRecycling: this.recycling.has(volumeId),
      acknowledged: isAcknowledged,
      used: this.wasUsed(volumeId),
      adopt: parameters['adopt'] === 'by-name' ? 'by-name' : 'never',
      onDelete: parameters['onDelete'] === 'archive' ? 'archive' : 'delete',
      ...this.owners.get(volumeId),
      ...(adoptedFrom === undefined ? {} : { adoptedFrom }),
    };
  }

  async expandVolume(request: ExpandVolumeRequest): Promise<ExpandedVolume> {
    this.expands.push(request);
    await this.onExpand?.(request);
    const grown = this.grow(request);
    return (await this.afterExpand?.(grown)) ?? grown;
  }

  /** What expandVolume does to the disk. */
  grow({ volumeId, capacityRange: { requiredBytes, limitBytes } }: ExpandVolumeRequest): ExpandedVolume {
    const entry = this.#entryOf(volumeId);
    const { capacityBytes } = entry.volume;
    const wantedBytes = requiredBytes > capacityBytes ? requiredBytes : capacityBytes;
    if (wantedBytes > this.largestBytes || (limitBytes > 0n && wantedBytes > limitBytes)) {
      throw new CsiError('OUT_OF_RANGE', `volume ${volumeId} cannot have ${wantedBytes} bytes`);
    }
    entry.volume = { ...entry.volume, capacityBytes: wantedBytes };
    return { capacityBytes: wantedBytes, nodeExpansionRequired: this.nodeExpansionRequired };
  }

  async modifyVolume(request: ModifyVolumeRequest): Promise<void> {
    this.modifies.push(request);
    await this.onModify?.(request);
    this.#entryOf(request.volumeId).modified = request.mutableParameters;
  }

  createSnapshot(request: CreateSnapshotRequest, call: CallContext): Promise<DriverSnapshot> {
    return this.snapshots.create(request, call);
  }

  deleteSnapshot(snapshotId: string): Promise<void> {
    return this.snapshots.remove(snapshotId);
  }

  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotPage> {
    return this.snapshots.list(request);
  }

  holdsVolume(volumeId: string): boolean {
    return this.volumes.has(volumeId);
  }

  holdsSnapshot(snapshotId: string): boolean {
    return this.snapshots.byId.has(snapshotId);
  }

  #entryOf(volumeId: string): FakeVolume {
    const entry = this.volumes.get(volumeId);
    if (entry === undefined) throw new CsiError('NOT_FOUND', `there is no volume ${volumeId}`);
    return entry;
  }
}

type RecycleRequest = Parameters<VolumeLedger['recycle']>[0];

function idOf(source: ContentSource): string {
  return source.kind === 'volume' ? `volume ${source.volumeId}` : `snapshot ${source.snapshotId}`;
}

function shapeOf({ capacityRange, parameters, contentSource }: CreateVolumeRequest): string {
  const metadata: readonly string[] = Object.values(metadataKeys);
  const shape = Object.entries(parameters).filter(([key]) => !metadata.includes(key));
  const source = contentSource === undefined ? '' : idOf(contentSource);
  return JSON.stringify([
    String(capacityRange.requiredBytes),
    source,
    shape.sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);
}
