import { kindAt } from '../../host/path-facts.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { PublishRequest } from '../../model/node-driver.ts';
import { isVolumeId, volumeIdOf } from '../../model/volume-id.ts';
import { createVolume } from '../create-volume.ts';
import { readInlineAttributes } from './inline-attributes.ts';
import { endInline } from './inline-end.ts';
import {
  inlineLockOf,
  inlineVolumesOf,
  stagingPathOf,
  type InlineEnvironment,
} from './inline-environment.ts';
import { ownerOf } from './inline-owner.ts';
import { readPath } from '../published/node-environment.ts';
import { publishVolume } from '../published/publish-volume.ts';
import type { InlineOwner } from '../records/record.ts';
import { stageVolume } from '../published/stage-volume.ts';
import { undoFailed } from '../published/undo-failed.ts';

/**
 * NodePublishVolume of a volume that the pod itself describes: made, staged and published, as far as it is not yet. After a
 * restart or a reboot the same pod finds its data again, also where such volumes were switched off meanwhile.
 *
 * Killed anywhere, a repeat goes on; where none comes, unpublishing or the sweep removes what was made. A failure leaves
 * nothing, unless the volume was in use before.
 * @throws StorageError as createVolume, stageVolume and publishVolume; 'invalid-parameter' for the pod's attributes
 */
export async function publishInline(
  environment: InlineEnvironment,
  request: PublishRequest,
  call: CallContext,
): Promise<void> {
  const { volumeId, targetPath, capability, volumeContext } = request;
  // made under its id as a name, it has to have that id
  if (!isVolumeId(volumeId) || volumeIdOf(volumeId) !== volumeId) {
    throw new StorageError('invalid-argument', `${JSON.stringify(volumeId)} cannot be a volume's id`);
  }
  if (capability.access.kind === 'block') {
    throw new StorageError(
      'unsupported-capability',
      `volume ${volumeId}: an inline volume is no block device; use a generic ephemeral volume with volumeMode: Block`,
    );
  }
  const owner = ownerOf(volumeContext, await readPath(environment, 'target path', targetPath));
  await environment.locks.run(inlineLockOf(volumeId), 'its publishing', () =>
    environment.turns.making.run(call, `publishing inline volume ${volumeId}`, () =>
      publishOwned(environment, request, owner, call),
    ),
  );
}

async function publishOwned(
  environment: InlineEnvironment,
  request: PublishRequest,
  owner: InlineOwner,
  call: CallContext,
): Promise<void> {
  const { volumeId, capability, volumeContext } = request;
  await environment.pools.usable();
  refusePersistent(environment, volumeId);
  const ready = inlineVolumesOf(environment, volumeId).filter(({ record }) => record.state === 'ready');
  const present = ready.find(({ record }) => record.used === true) ?? ready[0];
  const limitBytes = present === undefined ? environment.inline.maxBytes : undefined;
  if (present === undefined) await requireNotAway(environment, volumeId);
  const wish = readInlineAttributes(volumeContext, limitBytes);
  const create = {
    name: volumeId,
    capacityRange: { requiredBytes: wish.sizeBytes, limitBytes: limitBytes ?? 0n },
    capabilities: [capability],
    parameters: wish.parameters,
  };
  try {
    const volume = await createVolume(environment, create, call, owner);
    // its pool's uuid in it
    const steps = { ...request, volumeContext: volume.volumeContext };
    const staged = { ...steps, stagingTargetPath: stagingPathOf(environment, volumeId) };
    await stageVolume(environment, staged, call);
    await environment.reached?.('staged', volumeId);
    await publishVolume(environment, staged, call);
    await environment.reached?.('published', volumeId);
  } catch (error) {
    // what was staged before may hold the pod's data
    if (present?.record.used !== true) await undo(environment, volumeId, owner, error);
    throw error;
  }
}

/** Checked apart from `createVolume`, since what fails there is undone. */
function refusePersistent({ pools }: InlineEnvironment, volumeId: string): void {
  for (const pool of pools.open()) {
    const broken = pool.records.broken(volumeId);
    if (broken !== undefined) throw broken;
    const record = pool.records.get(volumeId);
    if (record === undefined || record.inline !== undefined) continue;
    throw new StorageError(
      'already-exists-different',
      `volume ${volumeId} is a PersistentVolume's and cannot be a pod's inline volume; give the pod a claim for it`,
    );
  }
}

/** Its staging folder outlives a reboot and goes with the volume: there, the data must be somewhere. */
async function requireNotAway(environment: InlineEnvironment, volumeId: string): Promise<void> {
  const missing = environment.pools.unavailable();
  if (missing.length === 0 || (await kindAt(stagingPathOf(environment, volumeId))) === 'absent') return;
  const why = missing.map((pool) => `pool ${pool.name}: ${pool.why}`).join('; ');
  throw new StorageError(
    'pool-unavailable',
    `inline volume ${volumeId} was published before and its data may lie in a pool that is away (${why}); ` +
      'bring the pool back, or delete the pod',
  );
}

/** Only what is this pod's: the failure may be that the volume is another's. */
async function undo(
  environment: InlineEnvironment,
  volumeId: string,
  owner: InlineOwner,
  failure: unknown,
): Promise<void> {
  const what = { call: 'publish', volumeId, path: owner.targetPath } as const;
  await undoFailed(environment.log, what, failure, async (signal) => {
    for (const located of inlineVolumesOf(environment, volumeId)) {
      const { uid, targetPath } = located.record.inline;
      if (uid === owner.uid && targetPath === owner.targetPath)
        await endInline(environment, located, { signal });
    }
  });
}
