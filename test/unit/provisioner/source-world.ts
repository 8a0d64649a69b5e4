import type { PersistentVolumeClaim, TypedReference } from '../../../src/kube/objects.ts';
import type { DriverSnapshot } from '../../../src/model/csi-driver.ts';
import { aClaim } from '../../support/kube-objects.ts';
import { aContent, aSnapshot, monday, old, theOldVolume } from '../claims/sources.ts';
import { World } from './world.ts';

export const selectedNode = 'volume.kubernetes.io/selected-node';

/** What a claim can be made of. */
export const kinds = ['snapshot', 'clone'] as const;
export type SourceKind = (typeof kinds)[number];

/** Each kind's source in this world. */
export const sources = { snapshot: monday, clone: old } as const;

/** The finalizers that keep each. */
export const protections = {
  snapshot: 'provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection',
  clone: 'provisioner.storage.kubernetes.io/cloning-protection',
} as const;

/** A world with a claim `old`, its volume and a snapshot `monday` of it, on node-a. */
export class SourceWorld extends World {
  readonly snapshot: DriverSnapshot;

  constructor() {
    super();
    this.snapshot = this.makeSources();
    void this.driver.acknowledge('pvc-uid-old');
    this.api.put('PersistentVolume', theOldVolume());
    this.api.put(
      'PersistentVolumeClaim',
      aClaim({
        metadata: { name: 'old', uid: 'uid-old' },
        spec: { volumeName: 'pvc-uid-old' },
        status: { phase: 'Bound' },
      }),
    );
    this.api.put('VolumeSnapshot', aSnapshot());
    this.api.put('VolumeSnapshotContent', aContent({ status: { snapshotHandle: this.snapshot.snapshotId } }));
  }

  /** Puts the volume and the snapshot of it on this node's disk. */
  makeSources(): DriverSnapshot {
    this.driver.make({
      name: 'pvc-uid-old',
      capacityRange: { requiredBytes: 1n << 30n, limitBytes: 0n },
      capabilities: [],
      parameters: {},
    });
    return this.driver.snapshots.make({ name: 'snap-1', sourceVolumeId: 'pvc-uid-old', parameters: {} });
  }

  /** A user makes a claim of a source. */
  wish(dataSource: TypedReference, parts: Parameters<typeof aClaim>[0] = {}): PersistentVolumeClaim {
    return this.claim({ ...parts, spec: { dataSource, ...parts.spec } });
  }

  /** What keeps a source from going away. */
  finalizersOf(kind: SourceKind): string[] {
    const source =
      kind === 'snapshot'
        ? this.api.peek('VolumeSnapshot', 'shop/monday')
        : this.api.peek('PersistentVolumeClaim', 'shop/old');
    return source?.metadata.finalizers ?? [];
  }
}
