import type { VolumePlace } from '../../backends/backend.ts';
import type { PoolConfig } from '../../config/config.ts';
import type { Directory } from '../../host/directory.ts';
import { identityAt, writability, type Identity } from '../../host/path-facts.ts';
import type { FileSystemStatus } from '../../host/statfs.ts';
import { StorageError } from '../../model/errors.ts';
import type { SnapshotId } from '../../model/snapshot-id.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import type { ForgottenDisks } from '../adoption/forgotten-disks.ts';
import type { Archive } from '../archive/archive.ts';
import type { AllocatedImages } from '../space/allocated-images.ts';
import type { BackendOffer } from '../choose-backend.ts';
import type { BackendOffers } from './backend-offers.ts';
import type { ClaimLinks } from './claim-links.ts';
import { markerName } from './pool-marker.ts';
import type { RecordStore } from '../records/record-store.ts';
import type { SnapshotStore } from '../records/snapshot-store.ts';
import type { Reserve } from '../space/reserve.ts';
import type { Trash } from '../trash/trash.ts';

/** The parts of an opened pool, made by `openPool`. */
export interface PoolParts {
  readonly config: PoolConfig;
  readonly uuid: string;
  readonly identity: Identity;
  readonly root: Directory;
  readonly volumes: Directory;
  readonly snapshots: Directory;
  readonly byClaim: Directory;
  readonly records: RecordStore;
  readonly snapshotRecords: SnapshotStore;
  readonly claimLinks: ClaimLinks;
  readonly trash: Trash;
  readonly archive: Archive;
  readonly forgottenDisks: ForgottenDisks;
  /** unset: none is kept */
  readonly reserve?: Reserve;
  readonly images: AllocatedImages;
  readonly offers: BackendOffers;
  readonly isCopyOnWrite: boolean;
  readonly fileSystemId: string;
  readonly statFileSystem: (path: string) => Promise<FileSystemStatus>;
}

/** One pool whose disk is there: its folders held open, its records in memory. */
export class Pool {
  readonly name: string;
  readonly config: PoolConfig;
  readonly uuid: string;
  readonly root: Directory;
  readonly volumes: Directory;
  readonly snapshots: Directory;
  readonly records: RecordStore;
  readonly snapshotRecords: SnapshotStore;
  readonly claimLinks: ClaimLinks;
  readonly trash: Trash;
  readonly archive: Archive;
  readonly forgottenDisks: ForgottenDisks;
  /** overwriting a file here writes new blocks and leaves the old ones */
  readonly isCopyOnWrite: boolean;
  /** whether a limit counts that holds only who does not set out to get around it */
  readonly trustsTenants: boolean;
  /** pools of the same one share its space */
  readonly fileSystemId: string;
  /** sizes of thick volumes in the making: allocated soon, and not yet missing from what the disk says is free */
  readonly allocating = new Map<string, bigint>();
  readonly #parts: PoolParts;
  /** A look at the disk under way serves everybody who asks meanwhile: a burst of creates would ask the same a hundred times. */
  #checking: Promise<void> | undefined;
  #measuring: Promise<FileSystemStatus> | undefined;

  constructor(parts: PoolParts) {
    this.#parts = parts;
    this.name = parts.config.name;
    this.config = parts.config;
    this.uuid = parts.uuid;
    this.root = parts.root;
    this.volumes = parts.volumes;
    this.snapshots = parts.snapshots;
    this.records = parts.records;
    this.snapshotRecords = parts.snapshotRecords;
    this.claimLinks = parts.claimLinks;
    this.trash = parts.trash;
    this.archive = parts.archive;
    this.forgottenDisks = parts.forgottenDisks;
    this.isCopyOnWrite = parts.isCopyOnWrite;
    this.trustsTenants = parts.config.tenants === 'trusted';
    this.fileSystemId = parts.fileSystemId;
  }

  /** What each backend can do here, as probed last. */
  get offers(): readonly BackendOffer[] {
    return this.#parts.offers.current;
  }

  /** Where a volume of this pool is. The id is a checked component by its type. */
  place(id: VolumeId): VolumePlace {
    return { path: this.volumes.pathOf(id) };
  }

  snapshotPlace(id: SnapshotId): VolumePlace {
    return { path: this.snapshots.pathOf(id) };
  }

  /** Everything promised here: volumes, those in the making, what snapshots pin, the archive, and what still lies in the trash. */
  promisedBytes(): bigint {
    const keptBytes = this.snapshotRecords.pinnedBytes + this.archive.usedBytes();
    return this.records.promisedBytes + keptBytes + this.trash.usedBytes();
  }

  /** Allocations under way that the disk does not show yet, also those that follow when the trash has let go of a volume's old data. */
  pendingBytes(): bigint {
    let bytes = 0n;
    for (const allocating of this.allocating.values()) bytes += allocating;
    for (const { spec } of this.records.recycling()) {
      const isPending = spec.provisioning === 'thick' && !this.allocating.has(spec.id);
      if (isPending && !this.trash.holds(spec.id)) bytes += spec.sizeBytes;
    }
    return bytes;
  }

  /** What is kept back for the day when the disk is full. */
  get reserveBytes(): bigint {
    return this.#parts.reserve?.heldBytes ?? 0n;
  }

  /** Does something, which can be repeated, that a full disk must not keep from being done. */
  withReserve<T>(act: () => Promise<T>): Promise<T> {
    return this.#parts.reserve?.around(act) ?? act();
  }

  /** Has the accounting learn, a little later, what images have taken of their promises. */
  lookAtImages(): void {
    this.#parts.images.refresh();
  }

  /** How full the disk is now. */
  fileSystemStatus(): Promise<FileSystemStatus> {
    this.#measuring ??= this.#parts.statFileSystem(this.config.path).finally(() => {
      this.#measuring = undefined;
    });
    return this.#measuring;
  }

  /**
   * Whether the disk is still there: an unmount leaves our descriptors valid and the path leading elsewhere. Three
   * system calls, so it is asked before every use.
   *
   * @throws StorageError 'pool-unavailable' with what happened and what to do
   */
  check(): Promise<void> {
    this.#checking ??= this.#look().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async #look(): Promise<void> {
    const { path } = this.config;
    const [there, marker] = await Promise.all([identityAt(path), writability(this.#parts.root, markerName)]);
    const { device, inode } = this.#parts.identity;
    if (there === undefined) throw this.#unavailable(`${path} is gone; mount its disk again`);
    if (there.device !== device || there.inode !== inode) {
      throw this.#unavailable(
        `${path} is not the folder that it was; its disk was probably unmounted, mount it again`,
      );
    }
    if (marker === 'absent')
      throw this.#unavailable(`${path} has lost its ${markerName}; restore it from a backup`);
    if (marker === 'read-only') {
      throw this.#unavailable(
        `${path} is read-only; look for disk errors in the kernel log and mount it writable`,
      );
    }
  }

  /** Stops background work and lets go of the disk, so that it can be unmounted. */
  async close(): Promise<void> {
    await Promise.all([this.trash.stop(), this.#parts.offers.stop()]);
    await this.#parts.reserve?.settled();
    const folders = [this.#parts.byClaim, this.volumes, this.snapshots, this.archive.folder];
    await Promise.all(folders.map((folder) => folder.close()));
    await this.#parts.root.close();
  }

  #unavailable(what: string): StorageError {
    return new StorageError('pool-unavailable', `pool ${this.name}: ${what}`);
  }
}
