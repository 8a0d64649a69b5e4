import { join } from 'node:path';
import { imageName } from '../../backends/backend.ts';
import { allocatedBytes } from '../../host/images.ts';
import { inLanes } from '../../host/lanes.ts';
import { sharedBytesOf } from '../../host/shared-bytes.ts';
import type { Clock } from '../../model/clock.ts';
import { messageOf } from '../../model/errors.ts';
import type { Log } from '../../model/log.ts';
import type { VolumeId } from '../../model/volume-id.ts';
import type { VolumeRecord } from '../records/record.ts';
import type { RecordStore } from '../records/record-store.ts';

/** What pods wrote since the last look counts twice until the next one, as free no more and as still to be written: safe. */
const lookEveryMs = 5_000;
/** Which blocks are shared takes a walk over all of an image's extents. */
const measureEveryMs = 60_000;
const measuredAtOnce = 16;

export interface AllocatedImagesParts {
  readonly records: RecordStore;
  /** of a volume's directory */
  readonly pathOf: (id: VolumeId) => string;
  /** whether there are snapshots or clones in the pool, which may share blocks */
  readonly hasCopies: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** unset: the file system's word; tests say otherwise */
  readonly sharedBytesOf?: typeof sharedBytesOf;
}

/**
 * Keeps an eye on how much of their promises the images of a pool have taken, and how much of that they have together with their
 * snapshots and clones, for the accounting.
 */
export class AllocatedImages {
  readonly #parts: AllocatedImagesParts;
  /** by id, of those that were ever known to share blocks, or not to */
  readonly #measuredAtMs = new Map<string, number>();
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** from the first whole look on, whoever makes a copy notes who shares by it */
  #hasLooked = false;
  #looking: Promise<void> | undefined;

  constructor(parts: AllocatedImagesParts) {
    this.#parts = parts;
  }

  /** Looks again in the background where the last look is too old; nobody has to wait for thousands of images. */
  refresh(): void {
    if (this.#parts.clock.nowMs() - this.#lookedAtMs >= lookEveryMs) void this.look();
  }

  /** Never rejects: what cannot be looked at keeps counting as it did. */
  look(): Promise<void> {
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookAtAll(): Promise<void> {
    const { records, clock, log } = this.#parts;
    this.#lookedAtMs = clock.nowMs();
    const images = [...records.all()].filter(
      (record) => record.state === 'ready' && record.spec.backend === 'loopback',
    );
    try {
      await inLanes(images, 2, async ({ spec }) => {
        const bytes = await allocatedBytes(this.#imageOf(spec.id));
        if (bytes === undefined) return;
        records.noteAllocated(spec.id, bytes);
        this.#assume(spec.id, bytes);
      });
      this.#hasLooked = true;
      await this.#measure(images);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'images cannot be looked at; their space counts as unwritten');
    }
  }

  /**
   * Whom an image shares blocks with, no record says: what an earlier process left counts as shared where anybody may share, until it
   * is measured. What was made since shares what was noted.
   */
  #assume(id: VolumeId, allocatedBytes: bigint): void {
    const { records } = this.#parts;
    if (!this.#parts.hasCopies()) {
      if (records.sharedBytes(id) > 0n) records.noteShared(id, 0n);
    } else if (!this.#measuredAtMs.has(id) && !this.#hasLooked && records.sharedBytes(id) === 0n) {
      records.noteShared(id, allocatedBytes);
    }
    if (!this.#measuredAtMs.has(id)) this.#measuredAtMs.set(id, Number.NEGATIVE_INFINITY);
  }

  /** Those that share, the longest not measured first. */
  async #measure(images: readonly VolumeRecord[]): Promise<void> {
    const { records, clock, signal } = this.#parts;
    const nowMs = clock.nowMs();
    const atMs = ({ spec }: VolumeRecord): number => this.#measuredAtMs.get(spec.id) ?? nowMs;
    const due = images
      .filter((record) => records.sharedBytes(record.spec.id) > 0n && nowMs - atMs(record) >= measureEveryMs)
      .sort((left, right) => (atMs(left) < atMs(right) ? -1 : 1))
      .slice(0, measuredAtOnce);
    if (due.length === 0) return;
    const before = records.sharingNotes;
    const ask = this.#parts.sharedBytesOf ?? sharedBytesOf;
    const shared = await ask(
      due.map(({ spec }) => this.#imageOf(spec.id)),
      signal,
    );
    // a copy was made meanwhile, perhaps of one of these: what was seen may be older than it
    if (records.sharingNotes !== before) return;
    for (const [index, { spec }] of due.entries()) {
      const bytes = shared[index];
      if (bytes !== undefined) records.noteShared(spec.id, bytes);
      this.#measuredAtMs.set(spec.id, nowMs);
    }
  }

  #imageOf(id: VolumeId): string {
    return join(this.#parts.pathOf(id), imageName);
  }
}
