import { kindAt } from '../../host/path-facts.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { moveToTrash } from '../delete-volume.ts';
import { stagingPathOf, type InlineEnvironment, type LocatedInlineVolume } from './inline-environment.ts';
import { unstageVolume } from '../published/stage-volume.ts';

/**
 * The end of an inline volume that is published nowhere any more: unstaged, then moved to the trash, where its bytes go later
 * and its space is counted until they are gone. The inline lock is the caller's to hold. A repeat goes on where this was killed.
 *
 * @throws StorageError 'in-use' while somebody has it mounted, in whatever mount namespace; 'pool-unavailable'
 */
export async function endInline(
  environment: InlineEnvironment,
  located: LocatedInlineVolume,
  call: CallContext,
): Promise<void> {
  const { id } = located.record.spec;
  await environment.pools.check(located.pool);
  await clearStaging(environment, id, call);
  await environment.reached?.('unstaged', id);
  await environment.locks.runInTurn(id, 'its deletion', call.signal, () =>
    moveToTrash(environment, located, call),
  );
}

/** Nothing is mounted or attached for the volume, and the folder for it is gone. @param volumeId one path component */
export async function clearStaging(
  environment: InlineEnvironment,
  volumeId: string,
  call: CallContext,
): Promise<void> {
  const stagingTargetPath = stagingPathOf(environment, volumeId);
  // only inline volumes have one, and it goes last
  if ((await kindAt(stagingTargetPath)) === 'absent') return;
  await unstageVolume(environment, { volumeId, stagingTargetPath }, call);
  await environment.targets.removeTarget(stagingTargetPath);
}
