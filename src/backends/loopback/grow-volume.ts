import { extendImage } from '../../host/extend-image.ts';
import { growMountedFileSystem, growUnmountedExt4 } from '../../host/grow-file-system.ts';
import { imageSize } from '../../host/images.ts';
import { updateCapacity } from '../../host/loop-devices.ts';
import { unshare } from '../../host/reflink.ts';
import { statFileSystem } from '../../host/statfs.ts';
import { mountAt, reachableOf, readMounts } from '../../host/mountinfo.ts';
import { canonicalTarget } from '../../host/mounts.ts';
import { readSuperblock } from '../../host/superblock.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { Grown, VolumePlace } from '../backend.ts';
import { fsTypeOf, imagePathOf, verifyImage } from './create-image.ts';
import { heldDevices, type HeldDevice } from './holders.ts';

/**
 * Gives an image the size of its volume, tells its devices, and has the file system that is mounted take it. Each step looks at what
 * is there, so that a repeat goes on where a crash ended it.
 *
 * @returns whether what is mounted has yet to grow
 */
export async function growVolume(
  place: VolumePlace,
  spec: VolumeSpec,
  { signal }: CallContext,
): Promise<Grown> {
  const image = imagePathOf(place);
  await verifyImage(image, await imageSize(image), { ...spec, sizeBytes: 0n });
  await extendImage(image, { sizeBytes: spec.sizeBytes, thick: spec.provisioning === 'thick', signal });
  const held = await heldDevices(place, signal);
  for (const { device } of held) await updateCapacity(device.path, spec.sizeBytes, signal);
  return { isMountBehind: (await whyMountsBehind(held, spec, signal)) !== undefined };
}

/**
 * The same for what is mounted at a stage's or publish's path: by then the image has its size.
 *
 * @throws StorageError 'cannot-grow-now' | 'path-not-found'
 */
export async function growVolumeAt(
  place: VolumePlace,
  spec: VolumeSpec,
  volumePath: string,
  { signal }: CallContext,
): Promise<void> {
  const held = await heldDevices(place, signal);
  const path = await canonicalTarget(volumePath).catch(() => volumePath);
  const present = mountAt(await readMounts(), path);
  const isOurs = ({ mounts, nodeMounts }: HeldDevice) =>
    [...mounts, ...nodeMounts].some(({ id }) => id === present?.id);
  // a staged block volume has nothing mounted at its staging path
  if (!held.some(isOurs) && (spec.accessType === 'mount' || held.length === 0)) {
    throw new StorageError('path-not-found', `volume ${spec.id} is not mounted at ${volumePath}`);
  }
  for (const { device } of held) await updateCapacity(device.path, spec.sizeBytes, signal);
  const why = await whyMountsBehind(held, spec, signal);
  if (why === undefined) return;
  throw new StorageError(
    'cannot-grow-now',
    `the ${fsTypeOf(spec)} of volume ${spec.id} cannot grow while it is mounted: ${why}; restart its pods, ` +
      'the volume has its new size when it is mounted again',
  );
}

/** Has the mounted file systems take their devices. */
async function whyMountsBehind(
  held: readonly HeldDevice[],
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (spec.accessType === 'block') return undefined;
  const all = await readMounts();
  for (const { device, mounts } of held) {
    const mount = reachableOf(all, mounts);
    if (mount === undefined) continue;
    const mounted = { mountPath: mount.mountPoint, devicePath: device.path, fsType: fsTypeOf(spec) };
    const why = await growMountedFileSystem(mounted, signal);
    if (why !== undefined) return why;
  }
  return undefined;
}

/**
 * Allocates every block of a thin image, and takes apart what it shares with snapshots.
 *
 * @throws StorageError 'out-of-space'; what was allocated by then stays | 'invalid-parameter' on a pool where that would hold nothing
 */
export async function thickenVolume(
  place: VolumePlace,
  spec: VolumeSpec,
  { signal }: CallContext,
): Promise<void> {
  const image = imagePathOf(place);
  const { type } = await statFileSystem(place.path);
  if (type === 'btrfs') {
    throw new StorageError(
      'invalid-parameter',
      `volume ${spec.id} was made thin on a pool on btrfs, which would write each block anew elsewhere; make a thick volume and copy the data`,
    );
  }
  await extendImage(image, { sizeBytes: spec.sizeBytes, thick: true, signal });
  if (type === 'xfs') await unshare(image, signal);
}

/**
 * Whether the file system leaves a part of its image unused that is worth a program's start: one that is a little smaller stays so,
 * since none can use every last block. Reads one block of the image.
 */
export async function isFileSystemBehind(
  image: string,
  sizeBytes: bigint,
  spec: VolumeSpec,
): Promise<boolean> {
  if (spec.accessType === 'block') return false;
  const superblock = await readSuperblock(image, fsTypeOf(spec));
  return superblock.wantsCheck || superblock.sizeBytes + superblock.granuleBytes <= sizeBytes;
}

/** What has to be done before a mount: ext4 grows when nobody has it mounted, whatever the kernel allows. */
export async function growBeforeMount(
  devicePath: string,
  held: readonly HeldDevice[],
  spec: VolumeSpec,
): Promise<void> {
  if (fsTypeOf(spec) !== 'ext4' || held.some(({ mounts }) => mounts.length > 0)) return;
  await growUnmountedExt4(devicePath);
}

/** What has to be done after a mount: xfs and btrfs grow only mounted. */
export async function growAfterMount(
  devicePath: string,
  mountPath: string,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<void> {
  const fsType = fsTypeOf(spec);
  if (fsType !== 'ext4') await growMountedFileSystem({ mountPath, devicePath, fsType }, signal);
}
