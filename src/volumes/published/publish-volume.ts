import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { PublishRequest } from '../../model/node-driver.ts';
import { publicationOf, requireSame } from './compare-publication.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { readPath, requireVolume, requireVolumeId, type NodeEnvironment } from './node-environment.ts';
import type { Publication } from './publications.ts';
import { markUsed } from './mark-used.ts';
import { diskOf, isOurs, refuseForeign } from './recognise-mount.ts';
import { tellIfReleased } from './tell-released.ts';
import { undoFailed } from './undo-failed.ts';
import { backendOf, callError } from '../volume-environment.ts';

/**
 * CSI NodePublishVolume: the staged volume appears at a pod's target. A repeat with the same arguments checks what is
 * there; a second target of a SINGLE_NODE_SINGLE_WRITER volume is refused. A failure leaves no mount behind.
 *
 * @throws StorageError as NodeDriver.publish
 */
export async function publishVolume(
  environment: NodeEnvironment,
  request: PublishRequest,
  call: CallContext,
): Promise<void> {
  const { volumeId, targetPath } = request;
  requireVolumeId(volumeId);
  const path = await readPath(environment, 'target path', targetPath);
  const stagingPath = await readPath(environment, 'staging path', request.stagingTargetPath);
  await environment.locks.runInTurn(volumeId, 'its publishing', call.signal, async () => {
    const located = await requireVolume(environment, request);
    const isReadonly = request.readonly || request.capability.accessMode.endsWith('READER_ONLY');
    const wanted = publicationOf('publish', path, isReadonly, request, located.pool.uuid);
    const live = await environment.publications.liveAtPath(path);
    if (live !== undefined) requireSame(live, wanted, targetPath);
    // one of which staging leaves nothing is looked at by its backend: were it forgotten here, kubelet would not stage it again
    const { stagesNothing = false } = backendOf(environment, located.record.spec.backend).features;
    if (!stagesNothing) await requireStaged(environment, volumeId, stagingPath);
    else if (environment.publications.at(stagingPath)?.volumeId !== volumeId) {
      // then this is what lets somebody write
      environment.holds.requireWritable(volumeId);
      await markUsed(located, `publishing volume ${volumeId} at ${targetPath}`);
    }
    await requireSingleWriter(environment, wanted);
    await environment.publications.put(wanted);
    try {
      await publishWith(environment, located, request, isReadonly, call);
    } catch (error) {
      const failure = callError(error, call, `publishing volume ${volumeId} at ${targetPath}`);
      if (live === undefined) await rollBack(environment, wanted, targetPath, failure);
      throw failure;
    }
  });
}

/** The backend looks at the mount itself; this is for block volumes, and for the better message. */
async function requireStaged(
  { publications, pools }: NodeEnvironment,
  volumeId: string,
  stagingPath: string,
): Promise<void> {
  const staged = await publications.liveAtPath(stagingPath);
  if (staged?.kind === 'stage' && staged.volumeId === volumeId) return;
  const mount = await publications.mountAt(stagingPath);
  // staged before the run folder was lost
  const isForgotten = staged === undefined && mount !== undefined;
  if (isForgotten && (await isOurs(mount, volumeId, diskOf(pools, volumeId)))) return;
  throw new StorageError('not-staged', `volume ${volumeId} is not staged at ${stagingPath}; stage it first`);
}

async function requireSingleWriter({ publications }: NodeEnvironment, wanted: Publication): Promise<void> {
  const others = (await publications.liveAt(wanted.volumeId)).filter(
    (other) => other.kind === 'publish' && other.path !== wanted.path,
  );
  const single = 'SINGLE_NODE_SINGLE_WRITER';
  const blocker =
    wanted.accessMode === single ? others[0] : others.find((other) => other.accessMode === single);
  if (blocker === undefined) return;
  throw new StorageError(
    'in-use',
    `volume ${wanted.volumeId} is for a single writer (ReadWriteOncePod) and is published at ${blocker.path}; stop that pod first`,
  );
}

async function publishWith(
  environment: NodeEnvironment,
  { pool, record }: LocatedVolume,
  request: PublishRequest,
  isReadonly: boolean,
  call: CallContext,
): Promise<void> {
  const { access } = request.capability;
  const mountFlags = access.kind === 'mount' ? access.mountFlags : [];
  const backend = backendOf(environment, record.spec.backend);
  const target = { path: request.targetPath, readonly: isReadonly, mountFlags };
  await backend.publish(pool.place(record.spec.id), record.spec, request.stagingTargetPath, target, call);
}

async function rollBack(
  environment: NodeEnvironment,
  wanted: Publication,
  targetPath: string,
  failure: StorageError,
): Promise<void> {
  const { publications, targets, log, pools } = environment;
  const { volumeId, path } = wanted;
  await undoFailed(log, { call: 'publish', volumeId, path }, failure, async (signal) => {
    const mount = await publications.mountAt(path);
    if (mount !== undefined && (await isOurs(mount, volumeId, diskOf(pools, volumeId)))) {
      await targets.ensureUnmounted(targetPath, signal);
      await targets.removeTarget(targetPath);
    }
    await publications.remove(path);
  });
}

/**
 * CSI NodeUnpublishVolume: nothing is mounted at the target and the target is gone. Asks no record, since kubelet calls
 * it after a reboot and after a delete too: a mount is taken away if we remember making it or it can be ours, the path
 * only if it is an empty directory or an empty file.
 *
 * @throws StorageError 'bad-target' for somebody else's mount or a path with content; 'in-use' while it is busy
 */
export async function unpublishVolume(
  environment: NodeEnvironment,
  request: { readonly volumeId: string; readonly targetPath: string },
  call: CallContext,
): Promise<void> {
  const { volumeId, targetPath } = request;
  requireVolumeId(volumeId);
  const path = await readPath(environment, 'target path', targetPath);
  const { publications, targets, pools } = environment;
  await environment.locks.runInTurn(volumeId, 'its unpublishing', call.signal, async () => {
    try {
      const mount = await publications.mountAt(path);
      const isRemembered = publications.at(path)?.volumeId === volumeId;
      if (mount !== undefined) {
        if (!isRemembered) await refuseForeign(mount, volumeId, targetPath, diskOf(pools, volumeId));
        await targets.ensureUnmounted(targetPath, call.signal);
      }
      await targets.removeTarget(targetPath);
      if (isRemembered) await publications.remove(path);
    } catch (error) {
      throw callError(error, call, `unpublishing volume ${volumeId} from ${targetPath}`);
    }
  });
  await tellIfReleased(environment, volumeId);
}
