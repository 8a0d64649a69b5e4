import { basename } from 'node:path';
import { attachedDevices, devicesOf, isCandidate, type LoopDevice } from '../../host/loop-devices.ts';
import { mountsInOtherNamespaces } from '../../host/mount-namespaces.ts';
import { readMounts, type Mount } from '../../host/mountinfo.ts';
import { isMountOf } from '../../host/mounts.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { VolumePlace } from '../backend.ts';
import { imagePathOf } from './create-image.ts';

/** A loop device of a volume, with the mounts that hold it here. */
export interface HeldDevice {
  readonly device: LoopDevice;
  /** of the file system on it */
  readonly mounts: readonly Mount[];
  /** of the device node itself, for block volumes */
  readonly nodeMounts: readonly Mount[];
}

export async function heldDevices(place: VolumePlace, signal: AbortSignal): Promise<HeldDevice[]> {
  const devices = await devicesOf(imagePathOf(place), signal);
  if (devices.length === 0) return [];
  const mounts = await readMounts();
  return devices.map((device) => ({
    device,
    mounts: mounts.filter((mount) => isMountOf(mount, device)),
    nodeMounts: mounts.filter((mount) => isNodeMount(mount, device)),
  }));
}

/** The one device that is the volume's as far as its name in sysfs tells, at once; `heldDevices` tells for sure. */
export async function likelyDevice(place: VolumePlace): Promise<HeldDevice | undefined> {
  const [device, other] = attachedDevices().filter((one) => isCandidate(one.backingFile, imagePathOf(place)));
  if (device === undefined || other !== undefined) return undefined;
  const mounts = (await readMounts()).filter((mount) => isMountOf(mount, device));
  return { device, mounts, nodeMounts: [] };
}

/** A bind mount of `/dev/loopN`: its file system is the one that /dev is. */
function isNodeMount(mount: Mount, device: LoopDevice): boolean {
  return mount.root === `/${basename(device.path)}` && ['devtmpfs', 'tmpfs'].includes(mount.fsType);
}

/**
 * Who holds the volume, as texts. A device that nothing holds counts for a block volume, which is staged by it; for a
 * mount it is what a crash left, and `release` takes it away.
 */
export async function usersOfImage(place: VolumePlace, spec: VolumeSpec): Promise<string[]> {
  const held = await heldDevices(place, AbortSignal.timeout(30_000));
  const users: string[] = [];
  for (const { device, mounts, nodeMounts } of held) {
    users.push(...mounts.map((mount) => `mounted at ${mount.mountPoint} (${device.path})`));
    users.push(
      ...nodeMounts.map((mount) => `published as a block device at ${mount.mountPoint} (${device.path})`),
    );
    if (mounts.length > 0 || nodeMounts.length > 0) continue;
    const elsewhere = await mountedElsewhere(device);
    users.push(...elsewhere);
    if (elsewhere.length > 0) continue;
    if (spec.accessType === 'block') users.push(`attached as ${device.path}`);
    else if (device.goesWhenUnused) users.push(`${device.path} is still open in some process`);
  }
  return users;
}

/** Mounts of a device that only other mount namespaces have, as texts. */
export async function mountedElsewhere(device: LoopDevice): Promise<string[]> {
  const ofDevice = ` ${device.device} `;
  const ofBtrfs = ` - btrfs ${device.path} `;
  const mounts = await mountsInOtherNamespaces((line) => line.includes(ofDevice) || line.includes(ofBtrfs));
  return mounts
    .filter(({ mount }) => isMountOf(mount, device))
    .map(
      ({ mount, pid }) =>
        `mounted at ${mount.mountPoint} in the mount namespace of process ${pid} (${device.path})`,
    );
}

/** The loop device that a mount is of, by sysfs alone. */
export function deviceBehind(mount: Mount): LoopDevice | undefined {
  return attachedDevices().find((device) => isMountOf(mount, device));
}
