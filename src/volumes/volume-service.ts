import type {
  CallContext,
  Capacity,
  ControllerCapability,
  ControllerDriver,
  CreateSnapshotRequest,
  CreateVolumeRequest,
  DeleteVolumeRequest,
  DriverSnapshot,
  DriverVolume,
  ExpandedVolume,
  ExpandVolumeRequest,
  GetCapacityRequest,
  ListedVolume,
  ListSnapshotsRequest,
  ModifyVolumeRequest,
  SnapshotPage,
} from '../model/csi-driver.ts';
import { StorageError } from '../model/errors.ts';
import type {
  AdoptedVolume,
  Discovery,
  ArchivedVolume,
  ForgottenDisk,
  HeldVolume,
  PoolRoom,
  PoolTrouble,
  UnacknowledgedVolume,
  VolumeLedger,
} from '../model/volume-ledger.ts';
import { adoptPath } from './adoption/adopt-path.ts';
import type { AdoptPathOptions } from './adoption/adopted-record.ts';
import { adoptVolume } from './adoption/adopt-volume.ts';
import { discoveriesOf } from './adoption/discoveries.ts';
import { forgetDisk, type RequireUnowned } from './adoption/forget-disk.ts';
import { Stillness } from './adoption/stillness.ts';
import { whyDifferent, whyUnsupported } from './confirm-capabilities.ts';
import { archivedOf, removeArchived } from './archive/archive-volume.ts';
import { createSnapshot } from './snapshots/create-snapshot.ts';
import { createVolume } from './create-volume.ts';
import { deleteSnapshot } from './snapshots/delete-snapshot.ts';
import { deleteVolume } from './delete-volume.ts';
import { expandVolume } from './expand-volume.ts';
import { getSnapshot, listSnapshots } from './snapshots/list-snapshots.ts';
import { heldFor, heldOf, heldVolumes, roomsOf } from './held-volumes.ts';
import { describe, listingOf, listVolumes } from './list-volumes.ts';
import { modifyVolume } from './modify-volume.ts';
import { offeredCapabilities } from './offered-capabilities.ts';
import type { VolumeRecord } from './records/record.ts';
import { recycleVolume, type RecycleRequest } from './recycle-volume.ts';
import { reportCapacity } from './space/report-capacity.ts';
import { poolUuidOf, volumeContextOf } from './volume-context.ts';
import type { VolumeEnvironment } from './volume-environment.ts';
import { notHere } from './not-here.ts';

/** The driver's controller half in this process, and the ledger of what it made. Each verb's file says what it promises. */
export class VolumeService implements ControllerDriver, VolumeLedger {
  readonly #environment: VolumeEnvironment;
  readonly #stillness: Stillness;
  readonly #identity: { readonly name: string; readonly vendorVersion: string };

  constructor(
    environment: VolumeEnvironment,
    identity: { readonly name: string; readonly vendorVersion: string },
  ) {
    this.#environment = environment;
    this.#stillness = new Stillness(environment.clock);
    this.#identity = identity;
  }

  async getPluginInfo(): Promise<{ readonly name: string; readonly vendorVersion: string }> {
    return this.#identity;
  }

  async getControllerCapabilities(): Promise<ReadonlySet<ControllerCapability>> {
    return offeredCapabilities(this.#environment);
  }

  createVolume(request: CreateVolumeRequest, call: CallContext): Promise<DriverVolume> {
    return createVolume(this.#environment, request, call);
  }

  deleteVolume(request: DeleteVolumeRequest, call: CallContext): Promise<void> {
    return deleteVolume(this.#environment, request, call);
  }

  getCapacity(request: GetCapacityRequest): Promise<Capacity> {
    return reportCapacity(this.#environment, request);
  }

  listVolumes(request: {
    readonly maxEntries: number;
    readonly startingToken: string;
  }): Promise<{ readonly entries: readonly ListedVolume[]; readonly nextToken: string }> {
    return listVolumes(this.#environment, request);
  }

  expandVolume(request: ExpandVolumeRequest, call: CallContext): Promise<ExpandedVolume> {
    return expandVolume(this.#environment, request, call);
  }

  modifyVolume(request: ModifyVolumeRequest, call: CallContext): Promise<void> {
    return modifyVolume(this.#environment, request, call);
  }

  createSnapshot(request: CreateSnapshotRequest, call: CallContext): Promise<DriverSnapshot> {
    return createSnapshot(this.#environment, request, call);
  }

  deleteSnapshot(snapshotId: string, call: CallContext): Promise<void> {
    return deleteSnapshot(this.#environment, snapshotId, call);
  }

  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotPage> {
    return listSnapshots(this.#environment, request);
  }

  getSnapshot(snapshotId: string): Promise<DriverSnapshot> {
    return getSnapshot(this.#environment, snapshotId);
  }

  async getVolume(volumeId: string): Promise<ListedVolume> {
    if (volumeId === '') throw new StorageError('invalid-argument', 'no volume id is given; name the volume');
    const listing = listingOf(this.#environment.pools.open(), volumeId);
    const present = listing && (await describe(this.#environment, listing));
    if (present !== undefined) return present;
    // throws where the volume may lie in a pool that is missing
    const late = await this.#environment.pools.find(volumeId);
    if (late === undefined || !isServed(late.record)) throw notHere(volumeId);
    const found = await describe(this.#environment, { id: volumeId, ...late });
    if (found === undefined) throw notHere(volumeId);
    return found;
  }

  async validateVolumeCapabilities(
    request: Parameters<ControllerDriver['validateVolumeCapabilities']>[0],
  ): Promise<{ readonly confirmed: boolean; readonly message: string }> {
    const { volumeId } = request;
    if (volumeId === '') throw new StorageError('invalid-argument', 'no volume id is given; name the volume');
    const found = await this.#environment.pools.find(volumeId, poolUuidOf(request.volumeContext));
    if (found === undefined || !isServed(found.record)) throw notHere(volumeId);
    const { record, pool } = found;
    const unsupported = whyUnsupported(record, request.capabilities);
    const message = unsupported || whyDifferent(record, volumeContextOf(record, pool.uuid), request);
    return { confirmed: message === '', message };
  }

  /** Recovery of a pool is over before it counts as open. */
  isReady(): boolean {
    return this.#environment.pools.open().length > 0;
  }

  unacknowledged(): readonly UnacknowledgedVolume[] {
    const volumes: UnacknowledgedVolume[] = [];
    for (const pool of this.#environment.pools.open()) {
      for (const record of pool.records.all()) {
        // what is half made, too: of its maker nothing may be left who would undo it
        if (record.acknowledged || record.state === 'recycling') continue;
        const { name, claim, clusterUid, createdAtMs } = record;
        volumes.push({
          volumeId: record.spec.id,
          name,
          poolUuid: pool.uuid,
          ...(claim === undefined ? {} : { claim }),
          ...(clusterUid === undefined ? {} : { clusterUid }),
          createdAtMs,
        });
      }
    }
    return volumes;
  }

  async acknowledge(volumeId: string): Promise<void> {
    const found = this.#environment.pools.locate(volumeId);
    if (found !== undefined) await found.pool.records.acknowledge(found.record);
  }

  wasUsed(volumeId: string): boolean {
    const found = this.#environment.pools.locate(volumeId);
    return found === undefined || found.record.used === true;
  }

  holdsVolume(volumeId: string): boolean {
    return this.#environment.pools.open().some((pool) => pool.records.get(volumeId) !== undefined);
  }

  holdsSnapshot(snapshotId: string): boolean {
    return this.#environment.pools.open().some((pool) => pool.snapshotRecords.get(snapshotId) !== undefined);
  }

  held(): readonly HeldVolume[] {
    return heldVolumes(this.#environment.pools.open());
  }

  heldOf(volumeId: string): readonly HeldVolume[] {
    return heldOf(this.#environment.pools.open(), volumeId);
  }

  heldFor(claim: Parameters<VolumeLedger['heldFor']>[0]): readonly HeldVolume[] {
    return heldFor(this.#environment.pools.open(), claim);
  }

  close(volumeId: string): () => void {
    return this.#environment.holds.close(volumeId);
  }

  recycle(request: RecycleRequest, call: CallContext): Promise<void> {
    return recycleVolume(this.#environment, request, call);
  }

  /** Deleted volumes whose data is kept. */
  archived(): readonly ArchivedVolume[] {
    return archivedOf(this.#environment.pools.open());
  }

  /** Removes one of them for good. @throws StorageError 'volume-not-found' | 'busy' | 'still-removing' | 'pool-unavailable' */
  removeArchived(archiveId: string, call: CallContext): Promise<void> {
    return removeArchived(this.#environment, archiveId, call);
  }

  /** Gives up a volume whose disk is away for good. See `forgetDisk`. */
  forgetDisk(volumeId: string, requireUnowned: RequireUnowned, call: CallContext): Promise<ForgottenDisk> {
    return forgetDisk(this.#environment, volumeId, requireUnowned, call);
  }

  adopt(...[volumeId, owner, call]: Parameters<VolumeLedger['adopt']>): Promise<AdoptedVolume> {
    return adoptVolume(this.#environment, volumeId, owner, call);
  }

  /** Makes a volume of a folder or an image file that lies in a pool. See `adoptPath`. */
  adoptPath(path: string, options: AdoptPathOptions, call: CallContext): Promise<AdoptedVolume> {
    return adoptPath(this.#environment, path, options, call);
  }

  /** What lies in the discovery folders of pools that make volumes of it. */
  discoveries(): Promise<readonly Discovery[]> {
    return discoveriesOf(this.#environment.pools, this.#stillness);
  }

  rooms(): Promise<readonly PoolRoom[]> {
    return roomsOf(this.#environment.pools.open());
  }

  onRemoved(listener: (volumeId: string) => void): () => void {
    return this.#environment.pools.onRemoved(listener);
  }

  onReleased(listener: (volumeId: string) => void): () => void {
    return this.#environment.released.add(listener);
  }

  onSpaceChanged(listener: () => void): () => void {
    return this.#environment.spaceChanged.add(listener);
  }

  poolTroubles(): readonly PoolTrouble[] {
    return this.#environment.pools.unavailable();
  }
}

/** A pod's inline volume is none of the controller's. */
function isServed({ state, inline }: VolumeRecord): boolean {
  return state === 'ready' && inline === undefined;
}
