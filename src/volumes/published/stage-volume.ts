import { isReason, StorageError } from '../../model/errors.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import type { StageRequest } from '../../model/node-driver.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import { publicationOf, requireSame } from './compare-publication.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { readPath, requireVolume, requireVolumeId, type NodeEnvironment } from './node-environment.ts';
import { markUsed } from './mark-used.ts';
import { diskOf, isOurs, refuseForeign } from './recognise-mount.ts';
import { tellIfReleased } from './tell-released.ts';
import { undoFailed } from './undo-failed.ts';
import { backendOf, callError } from '../volume-environment.ts';

/**
 * CSI NodeStageVolume: the volume is mounted or attached at the staging path. A repeat with the same arguments checks
 * what is there. A failure leaves neither mount nor device behind.
 *
 * @throws StorageError as NodeDriver.stage
 */
export async function stageVolume(
  environment: NodeEnvironment,
  request: StageRequest,
  call: CallContext,
): Promise<void> {
  const { volumeId, stagingTargetPath } = request;
  requireVolumeId(volumeId);
  const path = await readPath(environment, 'staging path', stagingTargetPath);
  const doing = `staging volume ${volumeId} at ${stagingTargetPath}`;
  await environment.locks.run(volumeId, 'its staging', async () => {
    const located = await requireVolume(environment, request);
    const { stagesNothing } = backendOf(environment, located.record.spec.backend).features;
    const wanted = publicationOf('stage', path, false, request, located.pool.uuid, stagesNothing);
    const live = await environment.publications.liveAtPath(path);
    if (live !== undefined) requireSame(live, wanted, stagingTargetPath);
    if (live === undefined) environment.holds.requireWritable(volumeId);
    // before the mount: data may follow it at once
    await markUsed(located, doing);
    await environment.publications.put(wanted);
    try {
      await stageWith(environment, located, request, call);
    } catch (error) {
      const failure = callError(error, call, doing);
      if (live === undefined) await rollBack(environment, located, path, stagingTargetPath, failure);
      throw failure;
    }
  });
}

async function stageWith(
  environment: NodeEnvironment,
  { pool, record }: LocatedVolume,
  request: StageRequest,
  call: CallContext,
): Promise<void> {
  const { access } = request.capability;
  const mountFlags = access.kind === 'mount' ? access.mountFlags : [];
  const intent = { path: request.stagingTargetPath, readonly: false, mountFlags };
  const backend = backendOf(environment, record.spec.backend);
  await backend.stage(pool.place(record.spec.id), record.spec, intent, call);
}

async function rollBack(
  environment: NodeEnvironment,
  { pool, record }: LocatedVolume,
  path: string,
  stagingPath: string,
  failure: StorageError,
): Promise<void> {
  const { spec } = record;
  const { publications, log } = environment;
  await undoFailed(log, { call: 'stage', volumeId: spec.id, path }, failure, async (signal) => {
    const mount = await publications.mountAt(path);
    // what was there before us stays: it is why we failed
    if (mount === undefined || (await isOurs(mount, spec.id, spec.disk)))
      await backendOf(environment, spec.backend).unstage(pool.place(spec.id), spec, stagingPath, { signal });
    await publications.remove(path);
  });
}

/**
 * CSI NodeUnstageVolume. Also for what was never staged, is gone since a reboot, or belongs to a deleted volume: then
 * only a mount that can be ours is taken away. The folder itself is kubelet's.
 */
export async function unstageVolume(
  environment: NodeEnvironment,
  request: { readonly volumeId: string; readonly stagingTargetPath: string },
  call: CallContext,
): Promise<void> {
  const { volumeId, stagingTargetPath } = request;
  requireVolumeId(volumeId);
  const path = await readPath(environment, 'staging path', stagingTargetPath);
  if (!isVolumeId(volumeId)) return; // never one of ours
  const { publications } = environment;
  await environment.locks.run(volumeId, 'its unstaging', async () => {
    try {
      const remembered = publications.at(path);
      const located = locateToLetGo(environment, volumeId, remembered?.poolUuid);
      const mount = await publications.mountAt(path);
      if (mount !== undefined && remembered?.volumeId !== volumeId)
        await refuseForeign(mount, volumeId, stagingTargetPath, diskOf(environment.pools, volumeId));
      if (located === undefined) {
        if (mount !== undefined) await environment.targets.ensureUnmounted(stagingTargetPath, call.signal);
        if (remembered?.volumeId === volumeId) await letDevicesGo(environment, volumeId, path, call);
      } else if (!(await isStagedElsewhere(environment, volumeId, path))) {
        const { pool, record } = located;
        const backend = backendOf(environment, record.spec.backend);
        await backend.unstage(pool.place(record.spec.id), record.spec, stagingTargetPath, call);
      } else if (mount !== undefined) {
        await environment.targets.ensureUnmounted(stagingTargetPath, call.signal);
      }
      if (remembered?.volumeId === volumeId) await publications.remove(path);
    } catch (error) {
      throw callError(error, call, `unstaging volume ${volumeId} from ${stagingTargetPath}`);
    }
  });
  await tellIfReleased(environment, volumeId);
}

/** A pod has to end also where the record is damaged since or two pools have the id: then mounts and names are gone by. */
function locateToLetGo(
  { pools }: NodeEnvironment,
  volumeId: string,
  poolUuid: string | undefined,
): LocatedVolume | undefined {
  try {
    return pools.locate(volumeId, poolUuid);
  } catch (error) {
    if (isReason(error, 'data-loss', 'wrong-pool')) return undefined;
    throw error;
  }
}

/** The pool is away, or its record; what of the volume is left on this node must not hold its disk. */
async function letDevicesGo(
  environment: NodeEnvironment,
  volumeId: string,
  path: string,
  call: CallContext,
): Promise<void> {
  const live = await environment.publications.liveAt(volumeId);
  // as in the backends: detached, a device's number could be given to another volume while a pod still has its node
  const published = live.find(({ kind, accessType }) => kind === 'publish' && accessType === 'block');
  if (published !== undefined) {
    throw new StorageError(
      'in-use',
      `volume ${volumeId} is still published at ${published.path}; unpublish it first`,
    );
  }
  if (live.some(({ kind, path: other }) => kind === 'stage' && other !== path)) return;
  await environment.targets.detachByName(volumeId, call.signal);
}

/** Two PVs of one volume have two staging paths and one device. */
async function isStagedElsewhere(
  { publications }: NodeEnvironment,
  volumeId: string,
  path: string,
): Promise<boolean> {
  const live = await publications.liveAt(volumeId);
  return live.some((other) => other.kind === 'stage' && other.path !== path);
}
