import { ensureUnmounted } from '../../host/mounts.ts';
import { isAtOrBelow } from '../../host/mountinfo.ts';
import { resolveParent } from '../../host/path-facts.ts';
import { checkTargetPath, removeTarget } from '../../host/targets.ts';
import { StorageError } from '../../model/errors.ts';
import { isVolumeId } from '../../model/volume-id.ts';
import type { VolumeCapability } from '../../model/volume.ts';
import { whyUnsupported } from '../confirm-capabilities.ts';
import { detachByName } from './detach-by-name.ts';
import { describeOwner } from '../inline/inline-owner.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { publishedPath } from './publications.ts';
import { refuseRecycling } from '../refuse-recycling.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import { poolUuidOf } from '../volume-context.ts';
import { notHere } from '../not-here.ts';

/** The host's words that are not a backend's: taking away whatever is at a target, or left of a volume whose pool is away. */
export interface TargetWords {
  ensureUnmounted(path: string, signal: AbortSignal): Promise<void>;
  removeTarget(path: string): Promise<void>;
  detachByName(volumeId: string, signal: AbortSignal): Promise<void>;
}

export const hostTargets: TargetWords = { ensureUnmounted, removeTarget, detachByName };

export interface NodeEnvironment extends VolumeEnvironment {
  readonly targets: TargetWords;
  /** which volumes a stage or publish may be of: one call never takes the other kind */
  readonly lifecycle: 'persistent' | 'inline';
}

/** @throws StorageError 'invalid-argument' */
export function requireVolumeId(volumeId: string): void {
  if (volumeId === '') throw new StorageError('invalid-argument', 'no volume id is given; name the volume');
}

/**
 * A path of the request as it may be used: absolute, without `..`, not in a pool.
 *
 * @returns with the links of its parents resolved
 * @throws StorageError 'invalid-argument' | 'bad-target'
 */
export async function readPath(environment: VolumeEnvironment, what: string, path: string): Promise<string> {
  if (path === '') throw new StorageError('invalid-argument', `no ${what} is given; name one`);
  checkTargetPath(path);
  const resolved = await publishedPath(path);
  for (const pool of environment.pools.paths()) {
    const isInside =
      isAtOrBelow(path, pool) ||
      isAtOrBelow(resolved, pool) ||
      isAtOrBelow(resolved, await resolveParent(pool));
    if (isInside)
      throw new StorageError(
        'bad-target',
        `${what} ${path} lies in the pool at ${pool}; name a path outside`,
      );
  }
  return resolved;
}

/**
 * The volume that a stage or publish is about, its pool checked.
 *
 * @throws StorageError 'volume-not-found' | 'wrong-pool' | 'pool-unavailable' | 'unsupported-capability' | 'data-loss' |
 *   'in-use' for a pod's inline volume that a PV names, and for what is being emptied
 */
export async function requireVolume(
  environment: Pick<NodeEnvironment, 'pools' | 'lifecycle'>,
  request: {
    readonly volumeId: string;
    readonly capability: VolumeCapability;
    readonly volumeContext: Readonly<Record<string, string>>;
  },
): Promise<LocatedVolume> {
  const { volumeId } = request;
  const found = isVolumeId(volumeId)
    ? await environment.pools.find(volumeId, poolUuidOf(request.volumeContext))
    : undefined;
  if (found !== undefined) refuseRecycling(found.record);
  if (found === undefined || found.record.state !== 'ready') throw notHere(volumeId);
  const { inline } = found.record;
  if (inline !== undefined && environment.lifecycle === 'persistent') {
    throw new StorageError(
      'in-use',
      `volume ${volumeId} belongs to ${describeOwner(inline)} and goes with it; a PersistentVolume has to name another`,
    );
  }
  const unsupported = whyUnsupported(found.record, [request.capability]);
  if (unsupported !== '')
    throw new StorageError('unsupported-capability', `volume ${volumeId}: ${unsupported}`);
  return found;
}
