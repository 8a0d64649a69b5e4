import { capacityReason } from '../../claims/annotations.ts';
import type { CsiStorageCapacity } from '../../kube/objects.ts';
import { parseQuantity } from '../../model/quantity.ts';

/** One object is written about once a second at most: what happens right after a write is told within one, too; */
const writeGapMs = 900;
/** and for a little that pods wrote at most this often. */
export const driftGapMs = 60_000;
const driftBytes = 64n << 20n;
/** one part in so many of what was published */
const driftShare = 100n;

export interface CapacityFacts {
  /** as the API server has it; undefined: it has none */
  readonly published: CsiStorageCapacity | undefined;
  readonly wanted: CsiStorageCapacity;
  /** when this process last wrote it, or began */
  readonly writtenAtMs: number;
  /** whether this process wrote it at all */
  readonly isWritten: boolean;
  /** our own doing may have changed it, and somebody may wait for that; else only what pods write on the disk did */
  readonly isNews: boolean;
  readonly nowMs: number;
}

/** `isUrgent`: a node that is full, or that was, goes before everything else. */
export type CapacityDecision =
  | { readonly kind: 'keep'; readonly reason: string }
  | { readonly kind: 'wait'; readonly untilMs: number; readonly reason: string }
  | { readonly kind: 'create'; readonly isUrgent: boolean; readonly reason: string }
  | { readonly kind: 'patch'; readonly isUrgent: boolean; readonly body: object; readonly reason: string }
  /** what differs cannot be changed: away with it, and made anew */
  | { readonly kind: 'replace'; readonly isUrgent: boolean; readonly reason: string };

/** What to do about one class's object. */
export function decideCapacity(facts: CapacityFacts): CapacityDecision {
  const { published, wanted, nowMs, writtenAtMs, isWritten } = facts;
  const nextWriteMs = isWritten ? writtenAtMs + writeGapMs : nowMs;
  if (published === undefined) {
    const reason = 'the class has no object yet';
    return spaced(nextWriteMs, nowMs, { kind: 'create', isUrgent: false, reason });
  }
  if (!isSamePlace(published, wanted)) {
    const reason = 'it speaks of another class or another node';
    return spaced(nextWriteMs, nowMs, { kind: 'replace', isUrgent: false, reason });
  }
  const body = patchTo(wanted);
  const isFull = parseSize(wanted.maximumVolumeSize) === 0n;
  const wasFull = parseSize(published.maximumVolumeSize) === 0n;
  if (isFull !== wasFull) {
    const reason = isFull ? 'nothing fits any more' : 'there is room again';
    return { kind: 'patch', isUrgent: true, body, reason };
  }
  if (!isSameFrame(published, wanted)) {
    const reason = 'its labels or its owner are not right';
    return spaced(nextWriteMs, nowMs, { kind: 'patch', isUrgent: false, body, reason });
  }
  const difference = sizeDifference(published, wanted);
  if (difference === 'none' && reasonOf(published) === reasonOf(wanted)) {
    return { kind: 'keep', reason: 'it says what is so' };
  }
  // a reason tells numbers that change with every byte that a pod writes; other words are news, of a node that came back too
  const isSameReason = wordsOf(reasonOf(published)) === wordsOf(reasonOf(wanted));
  const mayWait = isSameReason && (difference === 'none' || (difference === 'small' && !facts.isNews));
  const gapMs = mayWait ? driftGapMs : 0;
  const reason = mayWait ? 'the difference is small' : 'the room has changed';
  return spaced(Math.max(nextWriteMs, writtenAtMs + gapMs), nowMs, {
    kind: 'patch',
    isUrgent: false,
    body,
    reason,
  });
}

function spaced(notBeforeMs: number, nowMs: number, decision: CapacityDecision): CapacityDecision {
  if (notBeforeMs <= nowMs) return decision;
  return { kind: 'wait', untilMs: notBeforeMs, reason: `${decision.reason}, and it was written just now` };
}

/** A merge patch that makes of any object of the same class and node the wanted one. */
function patchTo({ metadata, capacity, maximumVolumeSize }: CsiStorageCapacity): object {
  const { labels, ownerReferences, annotations } = metadata;
  const reason = annotations?.[capacityReason] ?? null;
  return {
    metadata: { labels, ownerReferences, annotations: { [capacityReason]: reason } },
    capacity,
    maximumVolumeSize,
  };
}

/** The fields that the API server lets nobody change. */
function isSamePlace(published: CsiStorageCapacity, wanted: CsiStorageCapacity): boolean {
  return (
    published.storageClassName === wanted.storageClassName &&
    isSameMap(published.nodeTopology?.matchLabels, wanted.nodeTopology?.matchLabels)
  );
}

function isSameFrame({ metadata: published }: CsiStorageCapacity, { metadata }: CsiStorageCapacity): boolean {
  const [owner, ...others] = published.ownerReferences ?? [];
  if (owner?.uid !== metadata.ownerReferences?.[0]?.uid || others.length > 0) return false;
  return Object.entries(metadata.labels ?? {}).every(([key, value]) => published.labels?.[key] === value);
}

function isSameMap(left: Record<string, string> = {}, right: Record<string, string> = {}): boolean {
  const entries = Object.entries(left);
  return (
    entries.length === Object.keys(right).length && entries.every(([key, value]) => right[key] === value)
  );
}

function reasonOf({ metadata }: CsiStorageCapacity): string | undefined {
  return metadata.annotations?.[capacityReason];
}

function wordsOf(reason = ''): string {
  return reason.replaceAll(/\d[\d.]*( ?[KMGTPE]i)?/g, '');
}

function sizeDifference(
  published: CsiStorageCapacity,
  wanted: CsiStorageCapacity,
): 'none' | 'small' | 'large' {
  const pairs = [
    [parseSize(published.capacity), parseSize(wanted.capacity)],
    [parseSize(published.maximumVolumeSize), parseSize(wanted.maximumVolumeSize)],
  ] as const;
  if (pairs.every(([before, after]) => before === after)) return 'none';
  const areSmall = pairs.every(([before, after]) => {
    if (before === undefined || after === undefined) return before === after;
    const bytes = before > after ? before - after : after - before;
    return bytes === 0n || (bytes < driftBytes && bytes * driftShare < before);
  });
  return areSmall ? 'small' : 'large';
}

/** Undefined where it is not there, or is no size of ours. */
function parseSize(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  try {
    return parseQuantity(text);
  } catch {
    return undefined;
  }
}
