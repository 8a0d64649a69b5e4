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
  syncPath,
  verifyAllocated,
} from '../../host/images.ts';
import { detach, devicesOf, flushDevice } from '../../host/loop-devices.ts';
import { reachableOf, readMounts, type Mount } from '../../host/mountinfo.ts';
import { canReflink, reflinkFile } from '../../host/reflink.ts';
import { StorageError } from '../../model/errors.ts';
import type { CallContext } from '../../model/csi-driver.ts';
import type { Consistency, VolumeSpec } from '../../model/volume.ts';
import type { Copied, CopySource, CopyWish, VolumePlace } from '../backend.ts';
import { fsTypeOf, imagePathOf, unfinishedPathOf, verifyImage } from './create-image.ts';
import { heldDevices, likelyDevice, mountedElsewhere, type HeldDevice } from './holders.ts';

/** Makes a snapshot's image: the source's, byte for byte, as of one moment; its journal may have to be replayed. */
export async function captureImage(
  source: CopySource,
  target: VolumePlace,
  wish: CopyWish,
  call: CallContext,
): Promise<Copied> {
  const path = imagePathOf(target);
  return inTemporary(path, source.spec.sizeBytes, call.signal, async (temporaryPath) => {
    const finish = () => syncPath(temporaryPath);
    const consistency = await copyMoment(source, temporaryPath, { ...wish, finish }, call.signal);
    await nameImage(temporaryPath, path);
    return { consistency };
  });
}

/** A wish, and what is done to the copy before it gets its name. */
interface MomentWish extends CopyWish {
  readonly finish: () => Promise<void>;
}

/** Makes a volume's image of another's, or of a snapshot's: with a uuid of its own, at least as large. */
export async function createImageFrom(
  source: CopySource,
  place: VolumePlace,
  spec: VolumeSpec,
  wish: CopyWish,
  call: CallContext,
): Promise<Copied> {
  const path = imagePathOf(place);
  const { signal } = call;
  const present = await imageSize(path);
  if (present !== undefined) {
    await verifyImage(path, present, spec);
    return { consistency: expectedOf(source) };
  }
  requireSameShape(source.spec, spec);
  return inTemporary(path, spec.sizeBytes, signal, async (temporaryPath) => {
    const thick = spec.provisioning === 'thick';
    const finish = async (): Promise<void> => {
      if (spec.accessType === 'mount') await renewUuid(temporaryPath, fsTypeOf(spec), signal);
      await extendImage(temporaryPath, { sizeBytes: spec.sizeBytes, thick, signal });
      await verifyImage(temporaryPath, await imageSize(temporaryPath), spec);
      await syncPath(temporaryPath);
    };
    const consistency = thick
      ? await copyThick(source, temporaryPath, { spec, wish, signal })
      : await copyMoment(source, temporaryPath, { ...wish, finish }, signal);
    if (thick) await finish();
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
  await wish.mayBegin;
  const momentPath = momentOf(targetPath);
  if (!isShared) await requireQuiet(source, signal);
  await createImage(targetPath, { sizeBytes: spec.sizeBytes, thick: true, signal });
  if (!isShared) return copyQuiet(source, targetPath, wish, signal);
  const finish = () => Promise.resolve();
  const consistency = await copyMoment(source, momentPath, { ...wish, finish }, signal);
  await copyInto(momentPath, targetPath, { ...wish, signal });
  await discardImage(momentPath);
  await verifyAllocated(targetPath, spec.sizeBytes);
  return consistency;
}

/** Copies the image as of one moment into a new file: sharing its blocks, or in full where nobody writes to it. */
async function copyMoment(
  source: CopySource,
  targetPath: string,
  wish: MomentWish,
  signal: AbortSignal,
): Promise<Consistency> {
  const image = imagePathOf(source.place);
  const sizeBytes = await imageSize(image);
  await verifyImage(image, sizeBytes, source.spec);
  if (!(await canReflink(dirname(targetPath)))) {
    await requireQuiet(source, signal);
    await wish.mayBegin;
    await createImage(targetPath, { sizeBytes: sizeBytes ?? source.spec.sizeBytes, thick: false, signal });
    const consistency = await copyQuiet(source, targetPath, wish, signal);
    await wish.finish();
    return consistency;
  }
  const reflink = async (): Promise<void> => {
    await wish.mayBegin;
    await reflinkFile(image, targetPath, signal);
  };
  return shareMoment(source, reflink, wish.finish, signal);
}

/** Has the blocks shared while nobody writes: its file system is frozen where it is mounted, and thaws while the copy is finished. */
async function shareMoment(
  source: CopySource,
  reflink: () => Promise<void>,
  finish: () => Promise<void>,
  signal: AbortSignal,
): Promise<Consistency> {
  if (await shareWhereLikely(source, reflink, finish, signal)) return 'frozen';
  const writable = (await heldDevices(source.place, signal)).filter(isWritable);
  if (writable.length === 0) {
    await reflink();
    await finish();
    return 'quiet';
  }
  const mount = await mountToFreeze(source, writable);
  if (mount !== undefined) {
    await whileFrozen(mount.mountPoint, reflink, { signal, mountId: mount.id, afterwards: finish });
    return 'frozen';
  }
  // what was synced by whoever writes to the device is on it; the rest may be on it too, as after a power cut
  for (const { device } of writable) await flushDevice(device.path);
  await reflink();
  await finish();
  return 'atomic';
}

/**
 * Freezes what is the source's by all appearance, and has the kernel asked meanwhile whether it is: a freeze waits for everybody who
 * uses the file system to have heard of it, which takes longer than all the rest.
 *
 * @returns whether it was, and the copy is finished; else nothing was done
 */
async function shareWhereLikely(
  source: CopySource,
  reflink: () => Promise<void>,
  finish: () => Promise<void>,
  signal: AbortSignal,
): Promise<boolean> {
  const likely = await likelyDevice(source.place);
  if (likely === undefined || !isWritable(likely)) return false;
  const mount = reachableOf(await readMounts(), likely.mounts);
  if (mount === undefined) return false;
  let looking: Promise<boolean> | undefined;
  const isSource = (): Promise<boolean> => {
    looking ??= heldDevices(source.place, signal)
      .then((held) => mountToFreeze(source, held.filter(isWritable)))
      .then((found) => found?.id === mount.id);
    return looking;
  };
  let isShared = false;
  const share = async (): Promise<void> => {
    if (!(await isSource())) return;
    await reflink();
    isShared = true;
  };
  const afterwards = async (): Promise<void> => (isShared ? finish() : undefined);
  const sharing = whileFrozen(mount.mountPoint, share, { signal, mountId: mount.id, afterwards });
  const [outcome, found] = await Promise.allSettled([sharing, isSource()]);
  if (outcome.status === 'fulfilled') return isShared;
  // another's that cannot be frozen is nothing to us
  if (found.status === 'fulfilled' && !found.value) return false;
  throw outcome.reason;
}

function isWritable({ device, mounts }: HeldDevice): boolean {
  return (
    !device.readonly && !(mounts.length > 0 && mounts.every((mount) => mount.superOptions.includes('ro')))
  );
}

/** Where the source's file system can be frozen; undefined: nobody has it mounted. */
async function mountToFreeze(source: CopySource, held: readonly HeldDevice[]): Promise<Mount | undefined> {
  const all = await readMounts();
  for (const { device, mounts } of held) {
    const mount = reachableOf(all, mounts);
    if (mount !== undefined) return mount;
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
