import { kindAt } from '../../host/path-facts.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { isReason } from '../../model/errors.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import { clearStaging, endInline } from './inline-end.ts';
import {
  inlineLockOf,
  inlineVolumesOf,
  stagingPathOf,
  type InlineEnvironment,
} from './inline-environment.ts';
import { podFolderOf } from './inline-owner.ts';
import { readPath } from '../published/node-environment.ts';
import { unpublishVolume } from '../published/publish-volume.ts';

/**
 * NodeUnpublishVolume, of whichever kind: the request does not say, so that the record decides. A volume of a PV is
 * unpublished and nothing else; an inline one ends with its pod's target. Does not wait for its bytes to go.
 *
 * @throws StorageError as unpublishVolume, and as endInline
 */
export async function unpublishEither(
  environment: InlineEnvironment,
  request: { readonly volumeId: string; readonly targetPath: string },
  call: CallContext,
): Promise<void> {
  const { volumeId } = request;
  if (!isVolumeId(volumeId)) return unpublishVolume(environment, request, call);
  const { locks, turns } = environment;
  return locks.runInTurn(inlineLockOf(volumeId), 'its publishing', call.signal, async () => {
    if (!(await isAnyInline(environment, volumeId))) {
      await unpublishVolume(environment, request, call);
      // else its pool has just come back
      if (!(await isAnyInline(environment, volumeId))) return;
    }
    await turns.ending.run(call, `unpublishing inline volume ${volumeId}`, () =>
      unpublishAndEnd(environment, request, call),
    );
  });
}

/** Also where only its staging folder is left: its pool is away, or its record. */
async function isAnyInline(environment: InlineEnvironment, volumeId: string): Promise<boolean> {
  if (inlineVolumesOf(environment, volumeId).length > 0) return true;
  return (await kindAt(stagingPathOf(environment, volumeId))) !== 'absent';
}

async function unpublishAndEnd(
  environment: InlineEnvironment,
  request: { readonly volumeId: string; readonly targetPath: string },
  call: CallContext,
): Promise<void> {
  const { volumeId, targetPath } = request;
  await unpublishVolume(environment, request, call);
  const found = inlineVolumesOf(environment, volumeId);
  await environment.reached?.('unpublished', volumeId);
  if (await isPublished(environment, volumeId)) return;
  // its pool is away, or its record; the sweep removes the volume when that is back
  if (found.length === 0) return clearStaging(environment, volumeId, call);
  const path = await readPath(environment, 'target path', targetPath);
  for (const located of found) {
    // what a PV's mistaken handle had published elsewhere does not end the pod's data
    if (located.record.inline.targetPath !== path) continue;
    try {
      await endInline(environment, located, call);
    } catch (error) {
      // A process that sits in it elsewhere, or a lost disk, must not hold the pod; the sweep comes back when its folder is gone.
      const isSwept = podFolderOf(located.record.inline) !== undefined;
      if (!isReason(error, 'in-use', 'pool-unavailable') || !isSwept) throw error;
      // found lost just now: what is mounted of it must not hold the disk, nor wait for a pool that may never be back
      if (isReason(error, 'pool-unavailable')) await clearStaging(environment, volumeId, call);
      environment.log.warn(
        { volumeId, error: error.message },
        'inline volume not removed yet, tried again later',
      );
    }
  }
}

async function isPublished({ publications }: InlineEnvironment, volumeId: string): Promise<boolean> {
  return (await publications.liveAt(volumeId)).some(({ kind }) => kind === 'publish');
}
