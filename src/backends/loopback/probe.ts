import { dirname, join } from 'node:path';
import { format } from '../../host/filesystems.ts';
import { createImage, discardImage } from '../../host/images.ts';
import { attach, detach, devicesOf } from '../../host/loop-devices.ts';
import { runInPrivateMount } from '../../host/private-mount.ts';
import { messageOf } from '../../model/errors.ts';
import type { BackendProbe, VolumePlace } from '../backend.ts';
import { provisionalBy } from '../may-pass.ts';

/** not a volume's image, should the scratch directory ever be one */
const probeName = 'probe-image';
const sizeBytes = 16n << 20n;
/** Writes more than the image holds; succeeds when that is refused for want of space. */
const overfill = 'dd if=/dev/zero of=fill bs=1M count=20 2>&1 | grep -q "No space left on device"';

/** Makes a small image, mounts it where nobody sees it and writes past its end. */
export async function probeImages(scratch: VolumePlace, signal: AbortSignal): Promise<BackendProbe> {
  const path = join(scratch.path, probeName);
  try {
    return await tryImage(path, signal);
  } catch (error) {
    return { usable: false, detail: messageOf(error), ...provisionalBy(error) };
  } finally {
    const cleanup = AbortSignal.timeout(10_000);
    for (const device of await devicesOf(path, cleanup)) await detach(device.path, cleanup);
    await discardImage(path);
  }
}

async function tryImage(path: string, signal: AbortSignal): Promise<BackendProbe> {
  // what a crash left is attached to the file that is about to be replaced
  for (const device of await devicesOf(path, signal)) await detach(device.path, signal);
  await createImage(path, { sizeBytes, thick: false, signal });
  await format(path, 'ext4', { root: { mode: 0o700, uid: 0, gid: 0 }, thick: false, signal });
  const device = await attach(path, { directIo: true, readonly: false, signal });
  const direct = device.directIo
    ? 'direct I/O'
    : 'buffered I/O, since the file system of the pool refuses direct I/O';
  try {
    await runInPrivateMount({
      device: device.path,
      fsType: 'ext4',
      place: dirname(path),
      script: overfill,
      args: [],
      signal,
    });
  } catch (error) {
    const detail = `an image did not stop a write past its end, or could not be mounted: ${messageOf(error)}`;
    return { usable: false, detail, ...provisionalBy(error) };
  }
  return { usable: true, enforcesLimit: true, detail: `images hold their size; ${direct}` };
}
