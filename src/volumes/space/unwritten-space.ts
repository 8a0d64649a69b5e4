import type { VolumeSpec } from '../../model/volume.ts';

interface Image {
  sizeBytes: bigint;
  isThick: boolean;
  /** unset: never looked at */
  allocatedBytes: bigint | undefined;
  /** of these, blocks that others have too: the first write to each takes a new one */
  sharedBytes: bigint;
}

/**
 * What the images of a pool may yet take from its disk: the blocks that a thin one was promised and has not, and of every one the
 * blocks that it has together with its snapshots and clones. As of the last looks at them; what was not looked at counts in full.
 */
export class UnwrittenSpace {
  readonly #images = new Map<string, Image>();
  #totalBytes = 0n;

  get totalBytes(): bigint {
    return this.#totalBytes;
  }

  /** Counts a volume, or counts it anew with another shape. What was noted of it stays. */
  put(spec: VolumeSpec): void {
    if (!isImage(spec)) return;
    const { sizeBytes } = spec;
    const isThick = spec.provisioning === 'thick';
    const before = this.#images.get(spec.id);
    if (before === undefined) {
      const image = { sizeBytes, isThick, allocatedBytes: undefined, sharedBytes: 0n };
      this.#images.set(spec.id, image);
      this.#totalBytes += unwrittenOf(image);
    } else {
      this.#change(before, { sizeBytes, isThick });
    }
  }

  forget(id: string): void {
    const image = this.#images.get(id);
    if (image === undefined) return;
    this.#images.delete(id);
    this.#totalBytes -= unwrittenOf(image);
  }

  /** How much of an image lies on the disk, shared blocks included. */
  noteAllocated(id: string, allocatedBytes: bigint): void {
    const image = this.#images.get(id);
    if (image !== undefined) this.#change(image, { allocatedBytes });
  }

  noteShared(id: string, sharedBytes: bigint): void {
    const image = this.#images.get(id);
    if (image !== undefined) this.#change(image, { sharedBytes });
  }

  sharedBytes(id: string): bigint {
    return this.#images.get(id)?.sharedBytes ?? 0n;
  }

  #change(image: Image, news: Partial<Image>): void {
    this.#totalBytes -= unwrittenOf(image);
    Object.assign(image, news);
    this.#totalBytes += unwrittenOf(image);
  }
}

function isImage({ backend }: VolumeSpec): boolean {
  return backend === 'loopback';
}

function unwrittenOf({ sizeBytes, isThick, allocatedBytes = 0n, sharedBytes }: Image): bigint {
  const takenBytes = isThick || allocatedBytes > sizeBytes ? sizeBytes : allocatedBytes;
  const ownBytes = takenBytes - sharedBytes;
  return ownBytes > 0n ? sizeBytes - ownBytes : sizeBytes;
}
