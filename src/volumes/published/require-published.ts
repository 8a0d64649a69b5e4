import { StorageError } from '../../model/errors.ts';
import type { LocatedVolume } from '../locate-volume.ts';
import { requireVolumeId } from './node-environment.ts';
import { publishedPath } from './publications.ts';
import { isOurs as isOurMount } from './recognise-mount.ts';
import type { VolumeEnvironment } from '../volume-environment.ts';
import { notHere } from '../not-here.ts';

/**
 * The volume that a call about something mounted means, which has to be mounted there.
 *
 * @param volumePath where it is staged or published
 * @throws StorageError 'invalid-argument' | 'volume-not-found' | 'path-not-found' | 'wrong-pool' | 'data-loss'
 */
export async function requirePublished(
  { pools, publications }: Pick<VolumeEnvironment, 'pools' | 'publications'>,
  { volumeId, volumePath }: { readonly volumeId: string; readonly volumePath: string },
): Promise<LocatedVolume> {
  requireVolumeId(volumeId);
  if (volumePath === '') throw new StorageError('invalid-argument', 'no volume path is given; name one');
  const found = pools.locate(volumeId);
  if (found === undefined || found.record.state !== 'ready') throw notHere(volumeId);
  const path = volumePath.startsWith('/') ? await publishedPath(volumePath) : volumePath;
  const mount = await publications.mountAt(path);
  const isOurs =
    publications.at(path)?.volumeId === volumeId ||
    (mount !== undefined && (await isOurMount(mount, volumeId, found.record.spec.disk)));
  if (mount === undefined || !isOurs) {
    throw new StorageError('path-not-found', `volume ${volumeId} is not published at ${volumePath}`);
  }
  return found;
}
