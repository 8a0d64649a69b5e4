import { formatBytes } from '../../model/quantity.ts';

export interface StopFacts {
  readonly limitBytes: bigint;
  /** what was let in before the writer was stopped */
  readonly writtenBytes: bigint;
  /** what the file system itself had left for anybody, before and after */
  readonly roomBeforeBytes: bigint;
  readonly roomAfterBytes: bigint;
}

/** What the writer would have taken, had nothing stopped it: the trial writes twice the limit. */
export function neededBytes(limitBytes: bigint): bigint {
  return limitBytes * 2n;
}

/**
 * Why a writer that was stopped past a limit proves nothing; undefined: the limit held it. A full disk stops anybody, with the same error:
 * the file system must have had room for all that was to be written, before and after, and the writer have come near the limit.
 */
export function whyNotByLimit(facts: StopFacts): string | undefined {
  const { limitBytes, writtenBytes, roomBeforeBytes, roomAfterBytes } = facts;
  const roomBytes = roomBeforeBytes < roomAfterBytes ? roomBeforeBytes : roomAfterBytes;
  if (roomBytes < neededBytes(limitBytes))
    return `whether project quotas hold cannot be told with ${formatBytes(roomBytes)} left on the disk; free some, and it is tried again`;
  // whole pages of the limit go to the directory itself, and a writer may be stopped in the middle of a piece
  if (writtenBytes < limitBytes / 2n || writtenBytes > limitBytes + limitBytes / 8n)
    return `a write was stopped at ${formatBytes(writtenBytes)}, where the limit was ${formatBytes(limitBytes)}; it is tried again`;
  return undefined;
}
