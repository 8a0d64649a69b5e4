import { expect } from 'vitest';
import type { CopySource, CopyWish } from '../../src/backends/backend.ts';
import { LoopbackBackend } from '../../src/backends/loopback/backend.ts';
import { thawImages } from '../../src/host/thaw-images.ts';
import { volumeIdOf } from '../../src/model/volume-id.ts';
import type { Consistency, FsType, VolumeSpec } from '../../src/model/volume.ts';
import { expectUnused, makeSubject, type Subject } from '../conformance/backend-subject.ts';
import { ScratchPool, whyNoScratchPool, type PoolKind } from './scratch-pool.ts';

export const MiB = 1n << 20n;
export const strict: CopyWish = { allowsLoose: false };

/** What keeps tests on such a lab from running, for their names; '' where they can. */
export const whyNoImageLab = whyNoScratchPool('xfs') || whyNoScratchPool('btrfs');

/** A volume as the source of a copy, while somebody may write to it. */
export const live = ({ place, spec }: Subject): CopySource => ({ place, spec, isLive: true });
/** A volume as the source of a copy, while nobody can. */
export const quiet = ({ place, spec }: Subject): CopySource => ({ place, spec, isLive: false });

/** The loopback backend alone on a disk of its own. */
export class ImageLab {
  readonly backend = new LoopbackBackend();
  readonly pool: ScratchPool;
  #count = 0;

  private constructor(pool: ScratchPool) {
    this.pool = pool;
  }

  static make(kind: PoolKind, sizeMiB = 3072): ImageLab {
    return new ImageLab(ScratchPool.make(kind, sizeMiB));
  }

  /** A thin volume of 320 MiB that is not made yet, unless told. */
  plan(kind: FsType | 'block', change: Partial<VolumeSpec> = {}): Subject {
    return this.#subject({
      backend: 'loopback',
      provisioning: 'thin',
      limit: 'enforced',
      sizeBytes: 320n * MiB,
      ...(kind === 'block' ? { accessType: 'block' } : { accessType: 'mount', fsType: kind }),
      ...change,
    });
  }

  /** Another volume of the same shape. */
  like({ spec }: { readonly spec: VolumeSpec }, change: Partial<VolumeSpec> = {}): Subject {
    return this.#subject({ ...spec, ...change });
  }

  /** Makes a volume and stages it. */
  async start(kind: FsType | 'block', change: Partial<VolumeSpec> = {}): Promise<Subject> {
    const volume = this.plan(kind, change);
    await volume.create();
    await volume.stage();
    return volume;
  }

  /** Unstages volumes, until nobody has them open. */
  async end(...volumes: readonly Subject[]): Promise<void> {
    for (const volume of volumes) {
      await volume.unstage();
      await expectUnused(volume.users);
    }
  }

  async snapshot(
    source: CopySource,
  ): Promise<{ readonly snapshot: Subject; readonly consistency: Consistency }> {
    const snapshot = this.like(source);
    const { consistency } = await this.backend.capture(source, snapshot.place, strict, snapshot.call);
    return { snapshot, consistency };
  }

  async clone(
    source: CopySource,
    change: Partial<VolumeSpec> = {},
  ): Promise<{ readonly clone: Subject; readonly consistency: Consistency }> {
    const clone = this.like(source, change);
    const { consistency } = await this.backend.createFrom(
      source,
      clone.place,
      clone.spec,
      strict,
      clone.call,
    );
    return { clone, consistency };
  }

  /** Removes the disk. Fails where a test has left something mounted or attached. */
  async clear(): Promise<void> {
    await thawImages((path) => path.startsWith(this.pool.path), AbortSignal.timeout(10_000));
    try {
      await expect.poll(() => this.pool.leftovers(), { timeout: 5000, interval: 20 }).toEqual([]);
    } finally {
      await this.pool.remove();
    }
  }

  #subject(spec: Omit<VolumeSpec, 'id'>): Subject {
    this.#count += 1;
    return makeSubject(this.pool, this.backend, { ...spec, id: volumeIdOf(`pvc-${this.#count}`) });
  }
}
