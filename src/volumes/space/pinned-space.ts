import type { SnapshotRecord } from '../records/snapshot-record.ts';

/** One source's snapshots. */
interface Chain {
  readonly writtenById: Map<string, bigint>;
  addedBytes: bigint;
  mostWrittenBytes: bigint;
}

/**
 * What snapshots keep from being freed. Those of one source hold mostly the same blocks: the first all that was written, each
 * later one what was written since. So a source's count for what each added, and never for less than the largest of them has,
 * whichever are deleted in between.
 */
export class PinnedSpace {
  readonly #chains = new Map<string, Chain>();
  #totalBytes = 0n;

  get totalBytes(): bigint {
    return this.#totalBytes;
  }

  add({ id, sourceVolumeId, writtenBytes, addedBytes }: SnapshotRecord): void {
    const chain = this.#chains.get(sourceVolumeId) ?? {
      writtenById: new Map(),
      addedBytes: 0n,
      mostWrittenBytes: 0n,
    };
    this.#chains.set(sourceVolumeId, chain);
    this.#totalBytes -= pinnedBy(chain);
    chain.writtenById.set(id, writtenBytes);
    chain.addedBytes += addedBytes;
    if (writtenBytes > chain.mostWrittenBytes) chain.mostWrittenBytes = writtenBytes;
    this.#totalBytes += pinnedBy(chain);
  }

  /** Of one that was added, as it was added. */
  remove({ id, sourceVolumeId, writtenBytes, addedBytes }: SnapshotRecord): void {
    const chain = this.#chains.get(sourceVolumeId);
    if (chain === undefined || !chain.writtenById.delete(id)) return;
    this.#totalBytes -= pinnedBy(chain);
    chain.addedBytes -= addedBytes;
    if (writtenBytes === chain.mostWrittenBytes) chain.mostWrittenBytes = most(chain.writtenById.values());
    this.#totalBytes += pinnedBy(chain);
    if (chain.writtenById.size === 0) this.#chains.delete(sourceVolumeId);
  }
}

function pinnedBy({ addedBytes, mostWrittenBytes }: Chain): bigint {
  return addedBytes > mostWrittenBytes ? addedBytes : mostWrittenBytes;
}

function most(values: Iterable<bigint>): bigint {
  let largest = 0n;
  for (const value of values) if (value > largest) largest = value;
  return largest;
}
