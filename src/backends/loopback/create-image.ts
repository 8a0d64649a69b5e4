import { join } from 'node:path';
import { checkFormattable, format, metadataBytes, probeType } from '../../host/filesystems.ts';
import {
  createImage,
  discardImage,
  imageFailure,
  imageSize,
  installImage,
  outOfSpace,
  verifyAllocated,
  wantsSpace,
} from '../../host/images.ts';
import { detach, devicesOf } from '../../host/loop-devices.ts';
import { CommandError } from '../../host/run.ts';
import { StorageError } from '../../model/errors.ts';
import type { FsType, VolumeSpec } from '../../model/volume.ts';
import { imageName, type VolumePlace } from '../backend.ts';
import { rootOwnerOf } from '../root-owner.ts';

export function imagePathOf(place: VolumePlace): string {
  return join(place.path, imageName);
}

/** An image until it is finished. */
export function unfinishedPathOf(imagePath: string): string {
  return `${imagePath}.new`;
}

export function fsTypeOf(spec: VolumeSpec): FsType {
  return spec.fsType ?? 'ext4';
}

/**
 * Makes a volume's image with its file system. It is built under another name and renamed when it is on disk: an image that
 * has its name is finished and is never formatted again.
 *
 * @throws StorageError 'out-of-space' | 'size-out-of-range' | 'host-failure'; nothing new is left then
 */
export async function createVolumeImage(
  place: VolumePlace,
  spec: VolumeSpec,
  signal: AbortSignal,
): Promise<void> {
  const path = imagePathOf(place);
  const present = await imageSize(path);
  if (present !== undefined) {
    await verifyImage(path, present, spec);
    return;
  }
  if (spec.accessType === 'mount') checkFormattable(fsTypeOf(spec), spec.sizeBytes);
  const temporaryPath = unfinishedPathOf(path);
  for (const device of await devicesOf(temporaryPath, signal)) await detach(device.path, signal);
  try {
    await build(temporaryPath, spec, signal);
    await installImage(temporaryPath, path);
  } catch (error) {
    // some mkfs say only that a write failed; asked before the attempt gives back what it took
    const neededBytes = metadataBytes(fsTypeOf(spec), spec.sizeBytes);
    const isFull = error instanceof CommandError && (await wantsSpace(place.path, neededBytes));
    await discardImage(temporaryPath);
    throw isFull ? outOfSpace(path, spec.sizeBytes, error) : imageFailure(error, path, spec.sizeBytes);
  }
}

async function build(path: string, spec: VolumeSpec, signal: AbortSignal): Promise<void> {
  const thick = spec.provisioning === 'thick';
  await createImage(path, { sizeBytes: spec.sizeBytes, thick, signal });
  if (spec.accessType === 'mount')
    await format(path, fsTypeOf(spec), { root: rootOwnerOf(spec), thick, signal });
  if (thick) await verifyAllocated(path, spec.sizeBytes);
}

/**
 * Whether the image on disk can be this volume's. An image is never formatted to fit: what is on it may be all that is
 * left of somebody's data.
 * @throws StorageError 'data-loss'
 */
export async function verifyImage(
  path: string,
  sizeBytes: bigint | undefined,
  spec: VolumeSpec,
): Promise<void> {
  if (sizeBytes === undefined) {
    throw new StorageError(
      'data-loss',
      `the image ${path} of volume ${spec.id} is gone; restore it or delete the volume`,
    );
  }
  if (sizeBytes < spec.sizeBytes) {
    throw new StorageError(
      'data-loss',
      `the image ${path} has ${sizeBytes} bytes instead of ${spec.sizeBytes}; restore it or delete the volume`,
    );
  }
  if (spec.accessType === 'block') return;
  const found = await probeType(path);
  if (found === fsTypeOf(spec)) return;
  throw new StorageError(
    'data-loss',
    `the image ${path} should hold ${fsTypeOf(spec)} and holds ${found ?? 'no file system that Loam knows'}; ` +
      'it is not formatted again: look at it with blkid, restore it or delete the volume',
  );
}
