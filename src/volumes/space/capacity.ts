/** What is known of one file system and of what Loam promised on it. All sizes in bytes. */
export interface SpaceFacts {
  readonly totalBytes: bigint;
  /** free to us now, without root's reserve */
  readonly availableBytes: bigint;
  /** sizes of all volumes of every pool on this file system, those in the making and those in the trash included */
  readonly promisedBytes: bigint;
  /** of these, what thin images have not taken from the disk yet, and may at any time */
  readonly unwrittenBytes: bigint;
  /** of these, allocations under way that `availableBytes` does not show yet */
  readonly pendingBytes: bigint;
}

/** The pool's rules (PoolConfig). */
export interface SpaceRules {
  readonly overcommitRatio: number;
  readonly reservedShare: number;
}

/** What of a pool can still be given out. */
export interface Space {
  /** to thin volumes: what may still be promised */
  readonly thinBytes: bigint;
  /** to thick volumes: what can be allocated now */
  readonly thickBytes: bigint;
  /** blocks that can be allocated now to what was promised already */
  readonly freeBytes: bigint;
  /** the largest thin and thick volume that an empty pool could take; more than this can never be had here */
  readonly largestThinBytes: bigint;
  readonly largestThickBytes: bigint;
}

/** Sizes are whole blocks, so that what is offered can be asked for. */
export const blockBytes = 4096n;

/**
 * How much a pool can still promise.
 *
 * A promise is counted in full from the day it is given, whatever is written. Promises may add up to the file system
 * less the reserved share, times the ratio. What is free now bounds them too, since other data may share the disk: it
 * has to hold what was promised to images and is not written yet, times the ratio again. What directories hold is not
 * known without walking them; their sizes are advisory. Pools on one file system share its promises.
 */
export function spaceOf(facts: SpaceFacts, rules: SpaceRules): Space {
  const reserved = times(facts.totalBytes, rules.reservedShare);
  const usable = atLeastZero(facts.totalBytes - reserved);
  const freeNow = atLeastZero(facts.availableBytes - reserved - facts.pendingBytes);
  const largestThinBytes = times(usable, rules.overcommitRatio);
  const unpromised = atLeastZero(largestThinBytes - facts.promisedBytes);
  const uncovered = atLeastZero(times(freeNow, rules.overcommitRatio) - facts.unwrittenBytes);
  const thinBytes = least(unpromised, uncovered);
  return {
    thinBytes: floorToBlock(thinBytes),
    thickBytes: floorToBlock(least(thinBytes, withoutBookkeeping(freeNow))),
    freeBytes: floorToBlock(withoutBookkeeping(freeNow)),
    largestThinBytes: floorToBlock(largestThinBytes),
    largestThickBytes: floorToBlock(least(largestThinBytes, withoutBookkeeping(usable))),
  };
}

export function ceilToBlock(bytes: bigint): bigint {
  return ((bytes + blockBytes - 1n) / blockBytes) * blockBytes;
}

export function floorToBlock(bytes: bigint): bigint {
  return (bytes / blockBytes) * blockBytes;
}

/** An allocated image also needs blocks for its extents and its directory. */
function withoutBookkeeping(bytes: bigint): bigint {
  return atLeastZero(bytes - (bytes >> 10n) - (1n << 20n));
}

/** A share or ratio of some bytes, to a millionth, rounded down. */
function times(bytes: bigint, factor: number): bigint {
  return (bytes * BigInt(Math.round(factor * 1_000_000))) / 1_000_000n;
}

function atLeastZero(bytes: bigint): bigint {
  return bytes > 0n ? bytes : 0n;
}

function least(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}
