import { lstat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { copyInto } from '../../host/copy-file.ts';
import { extendImage } from '../../host/extend-image.ts';
import { renewUuid } from '../../host/file-system-uuid.ts';
import { whileFrozen } from '../../host/freeze.ts';
import {
  createImage,
  discardImage,
  imageFailure,
  imageSize,
  nameImage,
  verifyAllocated,
} from '../../host/images.ts';
import { detach, devicesOf, flushDevice } from '../../host/loop-devices.ts';
import { reachableOf, readMounts } from '../../host/mountinfo.ts';
import { canReflink, reflinkFile } from '../../host/reflink.ts';
import { StorageError } from '../../model/errors.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import type { Consistency, VolumeSpec } from '../../model/volume.ts';
import type { CopySource, CopyWish, VolumePlace } from '../backend.ts';
import { fsTypeOf, imagePathOf, unfinishedPathOf, verifyImage } from './create-image.ts';
import { heldDevices, mountedElsewhere, type HeldDevice } from './holders.ts';

/** Makes a snapshot's image: the source's, byte for byte, as of one moment; its journal may have to be replayed. */
export async function captureImage(
  source: CopySource,
  target: VolumePlace,
  wish: CopyWish,
  call: CallContext,
): Promise<{ readonly consistency: Consistency }> {
  const path = imagePathOf(target);
  return inTemporary(path, source.spec.sizeBytes, call.signal, async (temporaryPath) => {
    const consistency = await copyMoment(source, temporaryPath, wish, call.signal);
    await nameImage(temporaryPath, path);
    return { consistency };
  });
}

/** Makes a volume's image of another's, or of a snapshot's: with a uuid of its own, at least as large. */
export async function createImageFrom(
  source: CopySource,
  place: VolumePlace,
  spec: VolumeSpec,
  wish: CopyWish,
  call: CallContext,
): Promise<{ readonly consistency: Consistency }> {
  const path = imagePathOf(place);
  const { signal } = call;
  const present = await imageSize(path);
  if (present !== undefined) {
    await verifyImage(path, present, spec);
    return { consistency: expectedOf(source) };
  }
  requireSameShape(source.spec, spec);
  return inTemporary(path, spec.sizeBytes, signal, async (temporaryPath) => {
    const consistency =
      spec.provisioning === 'thick'
        ? await copyThick(source, temporaryPath, { spec, wish, signal })
        : await copyMoment(source, temporaryPath, wish, signal);
    if (spec.accessType === 'mount') await renewUuid(temporaryPath, fsTypeOf(spec), signal);
    await extendImage(temporaryPath, {
      sizeBytes: spec.sizeBytes,
      thick: spec.provisioning === 'thick',
      signal,
    });
    await verifyImage(temporaryPath, await imageSize(temporaryPath), spec);
    await nameImage(temporaryPath, path);
    return { consistency };
  });
}

function requireSameShape(source: VolumeSpec, spec: VolumeSpec): void {
  const shapeOf = (of: VolumeSpec) =>
    of.accessType === 'block' ? 'a block volume' : `${fsTypeOf(of)} on an image`;
  if (shapeOf(source) === shapeOf(spec)) return;
  throw new StorageError(
    'source-differs',
    `volume ${spec.id} is to be ${shapeOf(spec)}, and its source ${source.id} is ${shapeOf(source)}; ask for the same`,
  );
}

function expectedOf({ isLive, spec }: CopySource): Consistency {
  if (!isLive) return 'quiet';
  return spec.accessType === 'mount' ? 'frozen' : 'atomic';
}

/** Clears what an earlier attempt left, and what this one leaves when it fails. */
async function inTemporary<T>(
  path: string,
  sizeBytes: bigint,
  signal: AbortSignal,
  work: (temporaryPath: string) => Promise<T>,
): Promise<T> {
  const temporaryPath = unfinishedPathOf(path);
  const momentPath = momentOf(temporaryPath);
  for (const device of await devicesOf(temporaryPath, signal)) {
    await detach(device.path, signal, device.backingFile);
  }
  try {
    await discardImage(temporaryPath);
    await discardImage(momentPath);
    return await work(temporaryPath);
  } catch (error) {
    await discardImage(temporaryPath);
    await discardImage(momentPath);
    throw imageFailure(error, path, sizeBytes);
  }
}

/** What a copy in full is made of, where the source is written to meanwhile. */
function momentOf(temporaryPath: string): string {
  return `${temporaryPath}.moment`;
}

/** All blocks are allocated before one is copied, so that a full pool is found out at once; none is shared with anybody. */
async function copyThick(
  source: CopySource,
  targetPath: string,
  {
    spec,
    wish,
    signal,
  }: { readonly spec: VolumeSpec; readonly wish: CopyWish; readonly signal: AbortSignal },
): Promise<Consistency> {
  const isShared = await canReflink(dirname(targetPath));
  const momentPath = momentOf(targetPath);
  if (!isShared) await requireQuiet(source, signal);
  await createImage(targetPath, { sizeBytes: spec.sizeBytes, thick: true, signal });
  if (!isShared) return copyQuiet(source, targetPath, wish, signal);
  const consistency = await copyMoment(source, momentPath, wish, signal);
  await copyInto(momentPath, targetPath, { ...wish, signal });
  await discardImage(momentPath);
  await verifyAllocated(targetPath, spec.sizeBytes);
  return consistency;
}

/** Copies the image as of one moment into a new file: sharing its blocks, or in full where nobody writes to it. */
async function copyMoment(
  source: CopySource,
  targetPath: string,
  wish: CopyWish,
  signal: AbortSignal,
): Promise<Consistency> {
  const image = imagePathOf(source.place);
  const sizeBytes = await imageSize(image);
  await verifyImage(image, sizeBytes, source.spec);
  if (!(await canReflink(dirname(targetPath)))) {
    await requireQuiet(source, signal);
    await createImage(targetPath, { sizeBytes: sizeBytes ?? source.spec.sizeBytes, thick: false, signal });
    return copyQuiet(source, targetPath, wish, signal);
  }
  const held = await heldDevices(source.place, signal);
  const reflink = () => reflinkFile(image, targetPath, signal);
  const writable = held.filter(isWritable);
  if (writable.length === 0) {
    await reflink();
    return 'quiet';
  }
  const mount = await mountToFreeze(source, writable);
  if (mount !== undefined) {
    await whileFrozen(mount, reflink, { signal });
    return 'frozen';
  }
  // what was synced by whoever writes to the device is on it; the rest may be on it too, as after a power cut
  for (const { device } of writable) await flushDevice(device.path);
  await reflink();
  return 'atomic';
}

function isWritable({ device, mounts }: HeldDevice): boolean {
  return (
    !device.readonly && !(mounts.length > 0 && mounts.every((mount) => mount.superOptions.includes('ro')))
  );
}

/** Where the source's file system can be frozen; undefined: nobody has it mounted. */
async function mountToFreeze(source: CopySource, held: readonly HeldDevice[]): Promise<string | undefined> {
  const all = await readMounts();
  for (const { device, mounts } of held) {
    const mount = reachableOf(all, mounts);
    if (mount !== undefined) return mount.mountPoint;
    const elsewhere =
      mounts.length > 0
        ? mounts.map(({ mountPoint }) => `covered by another mount at ${mountPoint}`)
        : await mountedElsewhere(device);
    if (elsewhere[0] === undefined) continue;
    throw new StorageError(
      'not-consistent',
      `volume ${source.spec.id} is ${elsewhere[0]}, where it cannot be frozen; stop what uses it there`,
    );
  }
  return undefined;
}

async function requireQuiet(source: CopySource, signal: AbortSignal): Promise<void> {
  const held = await heldDevices(source.place, signal);
  if (!held.some(isWritable)) return;
  throw new StorageError(
    'not-consistent',
    `volume ${source.spec.id} is in use, and the file system of its pool cannot share blocks: an image that is copied while it is ` +
      'written to may be damaged in the copy; stop its pods first, or have volumes on a pool on xfs or btrfs',
  );
}

/** Copies in full what nobody may write to, and looks afterwards whether that was so. */
async function copyQuiet(
  source: CopySource,
  targetPath: string,
  wish: CopyWish,
  signal: AbortSignal,
): Promise<Consistency> {
  const image = imagePathOf(source.place);
  const before = await lstat(image, { bigint: true });
  await copyInto(image, targetPath, { ...wish, signal });
  const after = await lstat(image, { bigint: true });
  await requireQuiet(source, signal);
  // it may have become larger, which adds zeros only
  if (after.mtimeNs === before.mtimeNs || after.size !== before.size) return 'quiet';
  throw new StorageError(
    'not-consistent',
    `${basename(dirname(image))} was written to while it was copied; try again when nobody uses it`,
  );
}
