import type { StorageClass } from '../../kube/objects.ts';
import type { Capacity } from '../../model/csi-driver.ts';
import { formatBytes } from '../../model/quantity.ts';
import { statusCodeOf } from '../../model/status-code.ts';
import type { Segments } from '../../model/topology.ts';
import type { DriverCalls } from '../driver-calls.ts';
import type { Room } from './capacity-object.ts';

interface RoomReader {
  readonly calls: Pick<DriverCalls, 'getCapacity'>;
  /** unset: a driver of other people, who has topology keys of its own; asked on its node it speaks of this node */
  readonly segments?: Segments;
}

/**
 * How much room this node has for a class.
 *
 * Parameters that no node takes count as none at all: so a claim of such a class comes to a node, where CreateVolume tells the
 * claim which parameter is wrong. With no room anywhere the scheduler would say "not enough free storage" for ever.
 *
 * @throws what the driver answers to anything else
 */
export async function readRoom(
  { calls, segments }: RoomReader,
  { parameters = {} }: Pick<StorageClass, 'parameters'>,
  signal: AbortSignal,
): Promise<Room> {
  const place = segments === undefined ? {} : { accessibleTopology: segments };
  try {
    return roomOf(await calls.getCapacity({ capabilities: [], parameters, ...place }, signal));
  } catch (error) {
    if (statusCodeOf(error) !== 'INVALID_ARGUMENT' || Object.keys(parameters).length === 0) throw error;
    return roomOf(await calls.getCapacity({ capabilities: [], parameters: {}, ...place }, signal));
  }
}

/** What the scheduler can compare a claim with: room that is too little for the smallest volume is none. */
export function roomOf(capacity: Capacity): Room {
  const { availableBytes, minimumVolumeBytes = 0n } = capacity;
  const { maximumVolumeBytes = availableBytes } = capacity;
  const largestBytes = maximumVolumeBytes < availableBytes ? maximumVolumeBytes : availableBytes;
  if (largestBytes > 0n && largestBytes >= minimumVolumeBytes) return { availableBytes, largestBytes };
  const reason =
    capacity.reason ??
    (largestBytes > 0n
      ? `${formatBytes(largestBytes)} are left, and the smallest volume is ${formatBytes(minimumVolumeBytes)}`
      : 'the driver has nothing left on this node');
  return { availableBytes, largestBytes: 0n, reason };
}
