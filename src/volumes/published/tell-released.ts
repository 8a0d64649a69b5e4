import type { VolumeEnvironment } from '../volume-environment.ts';

/**
 * Tells who waits to destroy a volume that kubelet has let go of it, if it has. Called when the volume's lock is free
 * again, since whoever is woken asks for it at once.
 */
export async function tellIfReleased(
  { publications, released }: Pick<VolumeEnvironment, 'publications' | 'released'>,
  volumeId: string,
): Promise<void> {
  // as after nearly every unpublish: known without reading the mounts
  if (publications.isStaged(volumeId)) return;
  if ((await publications.liveAt(volumeId)).length === 0) released.tell(volumeId);
}
