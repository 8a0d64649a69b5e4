import type {
  CallContext,
  CreateSnapshotRequest,
  DriverSnapshot,
  ListSnapshotsRequest,
  SnapshotPage,
} from '../../src/model/csi-driver.ts';
import { snapshotIdOf } from '../../src/model/snapshot-id.ts';
import { CsiError } from '../../src/model/status-code.ts';

interface FakeSnapshot {
  readonly name: string;
  readonly snapshot: DriverSnapshot;
  /** how many more answers say that it is still being copied */
  copyingAnswers: number;
}

/** The snapshots on a fake driver's disk. They outlive their source, and the processes that asked for them. */
export class FakeSnapshots {
  readonly byId = new Map<string, FakeSnapshot>();
  readonly creates: CreateSnapshotRequest[] = [];
  readonly deletes: string[] = [];
  readonly lists: ListSnapshotsRequest[] = [];
  /** for how many answers a new snapshot is not ready */
  copyingAnswers = 0;
  /** put in front of what would happen; throw to fail, `after…` is what becomes of the answer */
  onCreate: ((request: CreateSnapshotRequest, call: CallContext) => Promise<void> | void) | undefined;
  afterCreate: ((made: DriverSnapshot) => Promise<DriverSnapshot> | DriverSnapshot) | undefined;
  onDelete: ((snapshotId: string) => Promise<void> | void) | undefined;
  afterDelete: ((snapshotId: string) => Promise<void> | void) | undefined;
  onList: ((request: ListSnapshotsRequest) => Promise<void> | void) | undefined;
  readonly #sizeOf: (volumeId: string) => bigint | undefined;
  readonly #nowMs: () => number;

  /** @param sizeOf of a volume on the same disk; undefined: there is none */
  constructor(sizeOf: (volumeId: string) => bigint | undefined, nowMs: () => number) {
    this.#sizeOf = sizeOf;
    this.#nowMs = nowMs;
  }

  async create(request: CreateSnapshotRequest, call: CallContext): Promise<DriverSnapshot> {
    this.creates.push(request);
    await this.onCreate?.(request, call);
    const made = this.make(request);
    return (await this.afterCreate?.(made)) ?? made;
  }

  /** What CreateSnapshot does to the disk, and answers. */
  make({ name, sourceVolumeId }: CreateSnapshotRequest): DriverSnapshot {
    const snapshotId = snapshotIdOf(name);
    const known = this.byId.get(snapshotId) ?? this.#capture(snapshotId, name, sourceVolumeId);
    if (known.snapshot.sourceVolumeId !== sourceVolumeId) {
      throw new CsiError('ALREADY_EXISTS', `snapshot ${name} is of volume ${known.snapshot.sourceVolumeId}`);
    }
    const isReady = known.copyingAnswers === 0;
    if (!isReady) known.copyingAnswers -= 1;
    return { ...known.snapshot, isReady };
  }

  async remove(snapshotId: string): Promise<void> {
    this.deletes.push(snapshotId);
    await this.onDelete?.(snapshotId);
    this.byId.delete(snapshotId);
    await this.afterDelete?.(snapshotId);
  }

  async list(request: ListSnapshotsRequest): Promise<SnapshotPage> {
    this.lists.push(request);
    await this.onList?.(request);
    const { snapshotId, sourceVolumeId } = request;
    const entries = [...this.byId.values()]
      .map(({ snapshot, copyingAnswers }) => ({ ...snapshot, isReady: copyingAnswers === 0 }))
      .filter((snapshot) => snapshotId === undefined || snapshot.snapshotId === snapshotId)
      .filter((snapshot) => sourceVolumeId === undefined || snapshot.sourceVolumeId === sourceVolumeId);
    return { entries, nextToken: '' };
  }

  #capture(snapshotId: string, name: string, sourceVolumeId: string): FakeSnapshot {
    const sizeBytes = this.#sizeOf(sourceVolumeId);
    if (sizeBytes === undefined) throw new CsiError('NOT_FOUND', `there is no volume ${sourceVolumeId}`);
    const snapshot = { snapshotId, sourceVolumeId, sizeBytes, createdAtMs: this.#nowMs(), isReady: true };
    const made = { name, snapshot, copyingAnswers: this.copyingAnswers };
    this.byId.set(snapshotId, made);
    return made;
  }
}
