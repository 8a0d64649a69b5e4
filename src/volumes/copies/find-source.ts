import { StorageError } from '../../model/errors.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import type { ContentSource } from '../../model/volume.ts';
import { describeSource } from '../compare-volume.ts';
import { describeOwner } from '../inline/inline-owner.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { refuseRecycling } from '../refuse-recycling.ts';
import type { LocatedSnapshot } from '../snapshots/locate-snapshot.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

type Where = Pick<VolumeEnvironment, 'pools'>;

/**
 * What a volume is to be made from, finished and not on its way out.
 *
 * @throws StorageError 'source-not-found', also for what lies in the trash | 'busy' while it is being made | 'in-use' for a pod's inline
 *   volume and for what is being emptied | 'pool-unavailable' where it may lie in a pool that is away | 'wrong-pool' | 'data-loss'
 */
export async function findSource(
  where: Where,
  content: ContentSource,
): Promise<LocatedVolume | LocatedSnapshot> {
  if (content.kind === 'volume') return findSourceVolume(where, content.volumeId);
  const found = await where.pools.findSnapshot(content.snapshotId);
  if (found === undefined) throw sourceNotFound(content);
  if (found.record.state !== 'ready') throw unfinished(content);
  return found;
}

/** The same of a volume alone. */
export async function findSourceVolume({ pools }: Where, volumeId: string): Promise<LocatedVolume> {
  const content = { kind: 'volume', volumeId } as const;
  const found = isVolumeId(volumeId) ? await pools.find(volumeId) : undefined;
  if (found === undefined) {
    const isGoing = pools.open().some((pool) => pool.trash.holds(volumeId));
    throw sourceNotFound(content, isGoing ? 'is deleted, its bytes are being removed' : undefined);
  }
  const { inline, state } = found.record;
  if (inline !== undefined)
    throw new StorageError(
      'in-use',
      `volume ${volumeId} belongs to ${describeOwner(inline)} and goes with it; copies are made of volumes that have a claim`,
    );
  refuseRecycling(found.record);
  if (state !== 'ready') throw unfinished(content);
  return found;
}

/** The id may be anything that a caller wrote. */
export function sourceNotFound(
  content: ContentSource,
  why = "is not on this node; it was deleted, or is another node's",
): StorageError {
  const what = JSON.stringify(describeSource(content)).slice(1, -1);
  return new StorageError('source-not-found', `${what} ${why}`);
}

function unfinished(content: ContentSource): StorageError {
  return new StorageError(
    'busy',
    `${describeSource(content)} is still being made; repeat the call when it is there`,
  );
}
