import { capacityManager, capacityReason, nodeLabel, ourManager } from '../claims/annotations.ts';
import type { CsiStorageCapacity } from '../kube/objects.ts';
import { isReason } from '../model/errors.ts';
import { maxInt64, parseQuantity } from '../model/quantity.ts';
import { nodeTopologyKey } from '../model/topology.ts';

/** What a node says that it has left for one class. */
export interface Room {
  /** the largest volume that it would make now */
  readonly largestBytes: bigint;
  /** all that is left; never less than the largest volume */
  readonly freeBytes: bigint;
  /** why nothing fits, in the node's words */
  readonly why?: string;
}

/** As the scheduler reads it: `maximumVolumeSize` where it is told, else `capacity`. Nothing told is no room. */
export function roomOf(object: CsiStorageCapacity): Room {
  const capacityBytes = bytesOf(object.capacity);
  const largestBytes = bytesOf(object.maximumVolumeSize) ?? capacityBytes ?? 0n;
  const why = object.metadata.annotations?.[capacityReason];
  const freeBytes =
    capacityBytes === undefined || capacityBytes < largestBytes ? largestBytes : capacityBytes;
  return { largestBytes, freeBytes, ...(why === undefined || why === '' ? {} : { why }) };
}

/** The node that an object speaks of, as our topology value; undefined where it speaks of none or of several. */
export function topologyValueOf(object: CsiStorageCapacity): string | undefined {
  return object.nodeTopology?.matchLabels?.[nodeTopologyKey];
}

/** The node, as our topology value, whose process keeps the object right; undefined: somebody else does. */
export function publisherOf({ metadata: { labels = {} } }: CsiStorageCapacity): string | undefined {
  return labels[capacityManager] === ourManager ? labels[nodeLabel] : undefined;
}

/** The API server checks these; what slips through all the same counts as nothing, or as all that can be counted. */
function bytesOf(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  try {
    return parseQuantity(text);
  } catch (error) {
    return isReason(error, 'size-out-of-range') ? maxInt64 : 0n;
  }
}
