import { join } from 'node:path';
import { imageName } from '../backends/backend.ts';
import { allocatedBytes } from '../host/images.ts';
import { inLanes } from '../host/lanes.ts';
import type { Clock } from '../model/clock.ts';
import { messageOf } from '../model/errors.ts';
import type { Log } from '../model/log.ts';
import type { VolumeId } from '../model/volume-id.ts';
import { isThinImage, type RecordStore } from './record-store.ts';

/** What pods wrote since the last look counts twice until the next one, as free no more and as still to be written: safe. */
const lookEveryMs = 5_000;

/** Keeps an eye on how much of their promises the thin images of a pool have taken, for the accounting. */
export class AllocatedImages {
  readonly #records: RecordStore;
  readonly #pathOf: (id: VolumeId) => string;
  readonly #clock: Clock;
  readonly #log: Log;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(parts: {
    readonly records: RecordStore;
    /** of a volume's directory */
    readonly pathOf: (id: VolumeId) => string;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#records = parts.records;
    this.#pathOf = parts.pathOf;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  /** Looks again in the background where the last look is too old; nobody has to wait for thousands of images. */
  refresh(): void {
    if (this.#clock.nowMs() - this.#lookedAtMs >= lookEveryMs) void this.look();
  }

  /** Never rejects: what cannot be looked at keeps counting as it did. */
  look(): Promise<void> {
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookAtAll(): Promise<void> {
    this.#lookedAtMs = this.#clock.nowMs();
    const images = [...this.#records.all()].filter(
      (record) => record.state === 'ready' && isThinImage(record),
    );
    try {
      await inLanes(images, 2, async ({ spec }) => {
        const bytes = await allocatedBytes(join(this.#pathOf(spec.id), imageName));
        if (bytes !== undefined) this.#records.noteAllocated(spec.id, bytes);
      });
    } catch (error) {
      this.#log.warn(
        { error: messageOf(error) },
        'images cannot be looked at; their space counts as unwritten',
      );
    }
  }
}
