import type { VolumeSnapshotContent } from '../../../src/kube/objects.ts';
import { snapshotIdOf } from '../../../src/model/snapshot-id.ts';
import { aPersistentVolume } from '../../support/kube-objects.ts';
import { World } from './world.ts';

export const group = 'snapshot.storage.kubernetes.io';
export const creating = `${group}/volumesnapshot-being-created`;
export const deleting = `${group}/volumesnapshot-being-deleted`;
export const finalizer = `${group}/volumesnapshotcontent-bound-protection`;
export const contentName = 'snapcontent-vs-1';
/** of the content's VolumeSnapshot */
export const snapshotId = snapshotIdOf('snapshot-vs-1');

type Parts = {
  readonly metadata?: Partial<VolumeSnapshotContent['metadata']>;
  readonly spec?: Partial<VolumeSnapshotContent['spec']>;
  readonly status?: VolumeSnapshotContent['status'];
};

/** As the snapshot-controller makes one for VolumeSnapshot shop/monday of the volume pvc-uid-1. */
export function aContent({ metadata = {}, spec = {}, status }: Parts = {}): VolumeSnapshotContent {
  return {
    metadata: { name: contentName, uid: 'content-1', finalizers: [finalizer], ...metadata },
    spec: {
      deletionPolicy: 'Delete',
      driver: 'loam.dev',
      source: { volumeHandle: 'pvc-uid-1' },
      sourceVolumeMode: 'Filesystem',
      volumeSnapshotClassName: 'daily',
      volumeSnapshotRef: { namespace: 'shop', name: 'monday', uid: 'vs-1' },
      ...spec,
    },
    ...(status === undefined ? {} : { status }),
  };
}

/** A world with a volume on the disk, its PV and a class of snapshots. */
export class SnapshotWorld extends World {
  constructor() {
    super();
    this.driver.make({
      name: 'pvc-uid-1',
      capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
    });
    void this.driver.acknowledge('pvc-uid-1');
    this.api.put('PersistentVolume', aPersistentVolume());
    this.api.put('VolumeSnapshotClass', {
      metadata: { name: 'daily', uid: 'class-2' },
      driver: 'loam.dev',
      deletionPolicy: 'Delete',
      parameters: { consistency: 'accept' },
    });
  }

  run(wrapped: Parameters<World['start']>[1] = {}): ReturnType<World['start']> {
    return this.start({ snapshots: true }, wrapped);
  }

  put(parts: Parts = {}): void {
    this.api.put('VolumeSnapshotContent', aContent(parts));
  }

  content(): VolumeSnapshotContent | undefined {
    return this.api.peek('VolumeSnapshotContent', contentName);
  }

  edit(change: (content: VolumeSnapshotContent) => void): void {
    this.api.edit('VolumeSnapshotContent', contentName, change);
  }

  /** The VolumeSnapshot is deleted, and its controller sees it. */
  deleteSnapshot(): void {
    this.edit((content) => {
      content.metadata.annotations = { ...content.metadata.annotations, [deleting]: 'yes' };
    });
    this.api.erase('VolumeSnapshotContent', contentName);
  }

  /** Writes on contents so far, as what they write. */
  writes(): string[] {
    return this.api.calls
      .filter(({ kind, verb }) => kind === 'VolumeSnapshotContent' && verb === 'patch')
      .map(({ body }) => {
        const { metadata = {}, status } = body as {
          metadata?: { annotations?: Record<string, unknown>; finalizers?: unknown; labels?: unknown };
          status?: object;
        };
        if (status !== undefined) return 'error' in status && status.error !== null ? 'error' : 'status';
        if (metadata.finalizers !== undefined) return 'release';
        if (metadata.annotations === undefined) return 'label';
        return metadata.annotations[creating] === 'yes' ? 'mark' : 'unmark';
      });
  }
}
