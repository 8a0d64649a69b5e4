import { attach, devicesOf, updateCapacity, type LoopDevice } from '../../host/loop-devices.ts';
import { ensureBindMount } from '../../host/mounts.ts';
import { ensureTargetFile, removeTarget } from '../../host/targets.ts';
import { StorageError } from '../../model/errors.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type { MountIntent, VolumePlace } from '../backend.ts';
import { imagePathOf } from './create-image.ts';

/** A block volume is staged by having its image attached. */
export async function stageDevice(
  place: VolumePlace,
  spec: VolumeSpec,
  readonly: boolean,
  signal: AbortSignal,
): Promise<void> {
  const device = await attach(imagePathOf(place), { directIo: true, readonly, signal });
  await updateCapacity(device.path, spec.sizeBytes, signal);
  if (!device.goesWhenUnused) return;
  throw new StorageError(
    'in-use',
    `${device.path} of volume ${spec.id} was let go of but is still open in some process; stop it and try again`,
  );
}

/**
 * Bind-mounts the device's node on a file. A read-only publication gets a loop device of its own that refuses writes, since
 * a read-only mount of a node does not; unstaging detaches it.
 */
export async function publishDevice(
  place: VolumePlace,
  spec: VolumeSpec,
  target: MountIntent,
  options: { readonly outside: readonly string[]; readonly signal: AbortSignal },
): Promise<void> {
  const source = await deviceFor(place, spec, target.readonly, options.signal);
  try {
    const path = await ensureTargetFile(target.path, options);
    await ensureBindMount({
      source: source.path,
      target: path,
      readonly: target.readonly,
      flags: [],
      signal: options.signal,
    });
  } catch (error) {
    await removeTarget(target.path).catch(() => {});
    throw error;
  }
}

async function deviceFor(
  place: VolumePlace,
  spec: VolumeSpec,
  readonly: boolean,
  signal: AbortSignal,
): Promise<LoopDevice> {
  const image = imagePathOf(place);
  const attached = await devicesOf(image, signal);
  // staged read-only: there is no writable device, and a writer will be told so by the kernel
  const staged = attached.find((device) => !device.readonly) ?? attached[0];
  if (staged === undefined) {
    throw new StorageError(
      'not-staged',
      `volume ${spec.id} is not attached to a loop device; stage it first`,
    );
  }
  return readonly && !staged.readonly ? attach(image, { directIo: true, readonly, signal }) : staged;
}
