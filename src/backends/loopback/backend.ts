import { realpath, stat } from 'node:fs/promises';
import { checkMountFlags } from '../../host/mount-flags.ts';
import { faultOf, metadataBytes } from '../../host/filesystems.ts';
import { allocatedBytes, imageSize } from '../../host/images.ts';
import { attach, detach, devicesOf, isCandidate, updateCapacity } from '../../host/loop-devices.ts';
import { mountAt, reachableOf, readMounts, type Mount } from '../../host/mountinfo.ts';
import { canonicalTarget, ensureMounted, ensureUnmounted, isErrno } from '../../host/mounts.ts';
import { kindAt } from '../../host/path-facts.ts';
import { canReflink } from '../../host/reflink.ts';
import { CommandError } from '../../host/run.ts';
import { ensureTargetDirectory } from '../../host/targets.ts';
import type { CallContext, VolumeCondition } from '../../model/csi-driver.ts';
import { isReason, StorageError } from '../../model/errors.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import { fsTypes } from '../../model/class-parameters.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type {
  Backend,
  BackendFeatures,
  BackendProbe,
  Copied,
  CopySource,
  CopyWish,
  Grown,
  MountIntent,
  VolumePlace,
} from '../backend.ts';
import { fileSystemEntries } from '../file-system-entries.ts';
import { notStaged } from '../not-staged.ts';
import { poolFault } from '../pool-fault.ts';
import { publishDirectory } from '../publish-directory.ts';
import { captureImage, createImageFrom } from './copy-image.ts';
import { createVolumeImage, fsTypeOf, imagePathOf, unfinishedPathOf, verifyImage } from './create-image.ts';
import {
  growAfterMount,
  growBeforeMount,
  growVolume,
  growVolumeAt,
  isFileSystemBehind,
  thickenVolume,
} from './grow-volume.ts';
import { deviceBehind, heldDevices, usersOfImage } from './holders.ts';
import { probeImages } from './probe.ts';
import { publishDevice, stageDevice } from './publish-device.ts';

/**
 * A volume is an image file, attached to a loop device: mounted with a file system of its own, or given out as the device.
 * The image's size is the limit, whatever the pod does. What is attached and mounted is read from the kernel each time.
 */
export class LoopbackBackend implements Backend {
  readonly name = 'loopback';
  readonly features: BackendFeatures = { fsTypes, block: true, thick: true };
  readonly #poolPaths: readonly string[];

  /** @param options.poolPaths no target may lie in one of these */
  constructor(options: { readonly poolPaths?: readonly string[] } = {}) {
    this.#poolPaths = options.poolPaths ?? [];
  }

  async probe(scratch: VolumePlace, signal: AbortSignal): Promise<BackendProbe> {
    return probeImages(scratch, signal);
  }

  initialBytes(spec: VolumeSpec): bigint {
    if (spec.provisioning === 'thick') return spec.sizeBytes;
    return spec.accessType === 'block' ? 0n : metadataBytes(fsTypeOf(spec), spec.sizeBytes);
  }

  async create(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<void> {
    await createVolumeImage(place, spec, call.signal);
  }

  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void> {
    const image = imagePathOf(place);
    const sizeBytes = await imageSize(image);
    await verifyImage(image, sizeBytes, spec);
    if (spec.accessType === 'block') return stageDevice(place, spec, intent.readonly, call.signal);
    checkMountFlags(intent.mountFlags, fsTypeOf(spec));
    const target = await ensureTargetDirectory(intent.path, { outside: this.#poolPaths });
    const { path: source } = await attach(image, { directIo: true, readonly: false, signal: call.signal });
    const { readonly, mountFlags: flags } = intent;
    try {
      // a device that a crash left may not know yet that its image has grown
      await updateCapacity(source, spec.sizeBytes, call.signal);
      const isBehind = !readonly && (await isFileSystemBehind(image, sizeBytes ?? spec.sizeBytes, spec));
      if (isBehind) await growBeforeMount(source, await heldDevices(place, call.signal), spec);
      await ensureMounted({ source, target, fsType: fsTypeOf(spec), flags, readonly, signal: call.signal });
      await requireOurs(place, source, target, call.signal);
      if (isBehind) await growAfterMount(source, target, spec, call.signal);
    } catch (error) {
      await this.release(place, spec, AbortSignal.timeout(10_000));
      throw mountFailure(error, image, spec);
    }
  }

  async unstage(place: VolumePlace, spec: VolumeSpec, stagingPath: string, call: CallContext): Promise<void> {
    if (spec.accessType === 'mount') await ensureUnmounted(stagingPath, call.signal);
    const held = await heldDevices(place, call.signal);
    const published = held.flatMap(({ nodeMounts }) => nodeMounts)[0];
    if (published !== undefined) {
      // detached, its number could be given to another volume while a pod still has the node
      throw new StorageError(
        'in-use',
        `volume ${spec.id} is still published at ${published.mountPoint}; unpublish it first`,
      );
    }
    // with a mount left somewhere the device stays until that goes
    for (const { device } of held) await detach(device.path, call.signal, device.backingFile);
  }

  async publish(
    place: VolumePlace,
    spec: VolumeSpec,
    stagingPath: string,
    target: MountIntent,
    call: CallContext,
  ): Promise<void> {
    const options = { fsType: fsTypeOf(spec), outside: this.#poolPaths, signal: call.signal };
    if (spec.accessType === 'block') return publishDevice(place, spec, target, options);
    if (!(await isStaged(place, stagingPath))) throw notStaged(spec.id, stagingPath);
    return publishDirectory(stagingPath, target, options);
  }

  async users(place: VolumePlace, spec: VolumeSpec): Promise<readonly string[]> {
    return usersOfImage(place, spec);
  }

  async release(place: VolumePlace, _spec: VolumeSpec, signal: AbortSignal): Promise<void> {
    for (const { device, mounts, nodeMounts } of await heldDevices(place, signal)) {
      if (mounts.length > 0 || nodeMounts.length > 0) continue;
      await detach(device.path, signal, device.backingFile);
    }
    // removed with a device on it, a half-made image would keep its blocks
    const unfinished = unfinishedPathOf(imagePathOf(place));
    for (const device of await devicesOf(unfinished, signal)) {
      await detach(device.path, signal, device.backingFile);
    }
  }

  async usage(_place: VolumePlace, spec: VolumeSpec, volumePath: string): Promise<readonly UsageEntry[]> {
    if (spec.accessType === 'mount') return fileSystemEntries(volumePath);
    if ((await kindAt(volumePath)) === 'absent') {
      throw new StorageError('path-not-found', `nothing is published at ${volumePath}`);
    }
    return [{ unit: 'BYTES', total: spec.sizeBytes, available: 0n, used: 0n }];
  }

  async grow(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<Grown> {
    return growVolume(place, spec, call);
  }

  async growMounted(
    place: VolumePlace,
    spec: VolumeSpec,
    volumePath: string,
    call: CallContext,
  ): Promise<void> {
    await growVolumeAt(place, spec, volumePath, call);
  }

  async sharesBlocks(source: CopySource): Promise<boolean> {
    // a thick copy has blocks of its own
    return source.spec.provisioning === 'thin' && (await canReflink(source.place.path));
  }

  async capture(source: CopySource, target: VolumePlace, wish: CopyWish, call: CallContext): Promise<Copied> {
    return captureImage(source, target, wish, call);
  }

  async createFrom(
    source: CopySource,
    place: VolumePlace,
    spec: VolumeSpec,
    wish: CopyWish,
    call: CallContext,
  ): Promise<Copied> {
    return createImageFrom(source, place, spec, wish, call);
  }

  async sizeOf(place: VolumePlace): Promise<bigint | undefined> {
    return imageSize(imagePathOf(place));
  }

  async writtenBytes(place: VolumePlace): Promise<bigint | undefined> {
    return allocatedBytes(imagePathOf(place));
  }

  async reshape(place: VolumePlace, _from: VolumeSpec, to: VolumeSpec, call: CallContext): Promise<void> {
    // the other way the blocks stay until somebody trims the file system
    if (to.provisioning === 'thick') await thickenVolume(place, to, call);
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    const fault = await conditionFault(place, spec);
    return fault === undefined
      ? { abnormal: false, message: 'the image is there' }
      : { abnormal: true, message: fault };
  }
}

async function conditionFault(place: VolumePlace, spec: VolumeSpec): Promise<string | undefined> {
  const image = imagePathOf(place);
  try {
    await verifyImage(image, await imageSize(image), spec);
  } catch (error) {
    if (isReason(error, 'data-loss')) return error.message;
    throw error;
  }
  const ofPool = poolFault(await readMounts(), await realpath(place.path));
  if (ofPool !== undefined || spec.accessType === 'block') return ofPool;
  for (const { device, mounts } of await heldDevices(place, AbortSignal.timeout(30_000))) {
    // known of a mounted one only
    if (mounts.length === 0) continue;
    const ofFileSystem = await faultOf(device.path, fsTypeOf(spec));
    if (ofFileSystem !== undefined) return ofFileSystem;
    const dead = await shutDownAt(mounts);
    if (dead !== undefined) return dead;
    // mounted writable, and the kernel made it read-only since
    const stopped = mounts.find(
      (mount) => mount.superOptions.includes('ro') && !mount.options.includes('ro'),
    );
    if (stopped !== undefined)
      return `its file system at ${stopped.mountPoint} became read-only after an error`;
  }
  return undefined;
}

/** An xfs or btrfs that the kernel gave up answers every question with an error. */
async function shutDownAt(mounts: readonly Mount[]): Promise<string | undefined> {
  const mount = reachableOf(await readMounts(), mounts);
  if (mount === undefined) return undefined;
  try {
    await stat(mount.mountPoint);
    return undefined;
  } catch (error) {
    if (!isErrno(error, 'EIO', 'EUCLEAN', 'ESHUTDOWN')) throw error;
    return `its file system at ${mount.mountPoint} was shut down after an error; look at the kernel's log, then restart its pods`;
  }
}

/** A device that somebody else let go of may have become another image's since it was looked at. */
async function requireOurs(
  place: VolumePlace,
  source: string,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const mount = mountAt(await readMounts(), await canonicalTarget(target));
  const device = mount && deviceBehind(mount);
  if (device === undefined || isCandidate(device.backingFile, imagePathOf(place))) return;
  await ensureUnmounted(target, signal);
  throw new StorageError(
    'busy',
    `${source} has become the device of ${device.backingFile} while ${imagePathOf(place)} was mounted; repeat the call`,
  );
}

async function isStaged(place: VolumePlace, stagingPath: string): Promise<boolean> {
  const staged = mountAt(await readMounts(), await canonicalTarget(stagingPath).catch(() => stagingPath));
  if (staged === undefined || staged.root !== '/') return false;
  const device = deviceBehind(staged);
  return device !== undefined && isCandidate(device.backingFile, imagePathOf(place));
}

function mountFailure(error: unknown, image: string, spec: VolumeSpec): unknown {
  const isDamaged =
    error instanceof CommandError &&
    /wrong fs type|bad superblock|structure needs cleaning/i.test(error.stderr);
  if (!isDamaged) return error;
  return new StorageError(
    'data-loss',
    `the ${fsTypeOf(spec)} on ${image} cannot be mounted: ${error.message}; run its fsck on a copy of the image`,
    { cause: error },
  );
}
