import { ensureThawed } from './freeze.ts';
import { inLanes } from './lanes.ts';
import { attachedDevices } from './loop-devices.ts';
import { reachableOf, readMounts } from './mountinfo.ts';
import { isMountOf } from './mounts.ts';

/**
 * Thaws the file systems on images that an earlier process left frozen: whoever held the freeze was killed with it, as when a
 * container's processes all end at once. For the start, when nobody of ours freezes anything.
 *
 * @param isOurs by the path of the image, of which the kernel may show the end only
 * @returns where those that were frozen are mounted
 */
export async function thawImages(
  isOurs: (imagePath: string) => boolean,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const devices = attachedDevices().filter((device) => !device.readonly && isOurs(device.backingFile));
  if (devices.length === 0) return [];
  const mounts = await readMounts();
  const paths = devices.flatMap((device) => {
    const ofDevice = mounts.filter((mount) => isMountOf(mount, device));
    return reachableOf(mounts, ofDevice)?.mountPoint ?? [];
  });
  const thawed: string[] = [];
  await inLanes(paths, 4, async (path) => {
    thawed.push(...(await ensureThawed([path], signal)));
  });
  return thawed;
}
