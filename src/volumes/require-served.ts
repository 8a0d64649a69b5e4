import { StorageError } from '../model/errors.ts';
import { isVolumeId } from '../model/volume-id.ts';
import { describeOwner } from './inline/inline-owner.ts';
import type { LocatedVolume } from './locate-volume.ts';
import type { VolumeRecord } from './records/record.ts';
import { refuseRecycling } from './refuse-recycling.ts';
import type { VolumeEnvironment } from './volume-environment.ts';
import { notHere } from './not-here.ts';

/**
 * A finished volume that the controller's half may change, its pool checked.
 *
 * @throws StorageError 'volume-not-found', also for what lies in the trash | 'in-use' for a pod's inline volume and for what is being emptied | 'wrong-pool' |
 *   'pool-unavailable' | 'data-loss'
 */
export async function requireServed(
  { pools }: Pick<VolumeEnvironment, 'pools'>,
  volumeId: string,
): Promise<LocatedVolume> {
  const found = isVolumeId(volumeId) ? await pools.find(volumeId) : undefined;
  if (found !== undefined) refuseRecycling(found.record);
  if (found === undefined || found.record.state !== 'ready') throw notHere(volumeId);
  refuseInline(found.record);
  return found;
}

/** @throws StorageError 'in-use' */
export function refuseInline({ spec, inline }: VolumeRecord): void {
  if (inline === undefined) return;
  throw new StorageError(
    'in-use',
    `volume ${spec.id} belongs to ${describeOwner(inline)} and goes with it; it cannot be changed`,
  );
}
