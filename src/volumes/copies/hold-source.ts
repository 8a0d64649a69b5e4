import type { CopySource } from '../../backends/backend.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import { isSnapshotId } from '../../model/snapshot-id.ts';
import type { ContentSource, VolumeSpec } from '../../model/volume.ts';
import { findSource } from './find-source.ts';
import type { Hold } from './holds.ts';
import type { Pool } from '../pools/pool.ts';
import { usersOfVolume } from '../published/users-of-volume.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';

/** What a volume is to be made from, where it lies. */
export interface FoundSource {
  readonly content: ContentSource;
  readonly pool: Pool;
  readonly spec: VolumeSpec;
}

/** A source that stays as it is until it is let go: neither deleted nor grown, and not written to where it was quiet. */
export interface HeldSource extends FoundSource, CopySource {
  /** Can be called twice. */
  readonly letGo: () => void;
}

/**
 * Holds a source for a copy, once no call is under way that changes it.
 *
 * @param reading see `Hold`
 * @throws StorageError 'source-not-found', also for what lies in the trash | 'busy' while it is being made or changed | 'in-use'
 *   for a pod's inline volume | 'pool-unavailable' where it may lie in a pool that is away | 'wrong-pool' | 'data-loss'
 */
export async function holdSource(
  environment: VolumeEnvironment,
  content: ContentSource,
  reading: Hold['reading'],
  call: CallContext,
): Promise<HeldSource> {
  const id = idOf(content);
  return environment.locks.runInTurn(id, 'being copied', call.signal, async () => {
    const { pool, record } = await findSource(environment, content);
    const { spec } = record;
    const found = { content, pool, spec };
    const users = 'sourceVolumeId' in record ? [] : await usersOfVolume(environment, { pool, record }, call);
    const isLive = users.length > 0;
    const letGo = environment.holds.hold(id, { reading, keepsQuiet: !isLive });
    return { ...found, place: placeOf(found), isLive, letGo };
  });
}

function idOf(content: ContentSource): string {
  return content.kind === 'snapshot' ? content.snapshotId : content.volumeId;
}

function placeOf({ content, pool, spec }: FoundSource): CopySource['place'] {
  if (content.kind === 'volume') return pool.place(spec.id);
  if (isSnapshotId(content.snapshotId)) return pool.snapshotPlace(content.snapshotId);
  throw new StorageError('source-not-found', `${JSON.stringify(content.snapshotId)} is no snapshot's id`);
}
