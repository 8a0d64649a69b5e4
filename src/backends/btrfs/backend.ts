import { quotaState } from '../../host/qgroups.ts';
import { whileOpen } from '../../host/while-open.ts';
import type { CallContext, VolumeCondition } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import type {
  Backend,
  BackendProbe,
  Copied,
  CopySource,
  CopyWish,
  Grown,
  MountIntent,
  VolumePlace,
} from '../backend.ts';
import { MountedDirectory } from '../mounted-directory.ts';
import { refuseBlock } from '../refuse-block.ts';
import { faultOfVolume } from './condition.ts';
import { copySubvolume } from './copy-subvolume.ts';
import { createSubvolume, limitUnfinished } from './create-subvolume.ts';
import { discardSubvolumes } from './discard-subvolumes.ts';
import { fileSystemOf, heldSize, holdLimit, restoreLimit } from './hold-limit.ts';
import { missing } from './missing.ts';
import { probeSubvolumes } from './probe.ts';
import { subvolumeEntries, unsharedBytesOf, writtenBytesOf } from './usage.ts';
import { openData } from './volume-data.ts';

/**
 * A volume is a subvolume of the pool's btrfs, held to its size by its quota group: as fast as a directory, with snapshots and copies
 * that take no time. Holds who is trusted: a pod can make subvolumes inside, which are counted only once they are found.
 */
export class BtrfsBackend extends MountedDirectory implements Backend {
  readonly name = 'btrfs';
  readonly #quotaPaths: readonly string[];

  /**
   * @param options.poolPaths no target may lie in one of these
   * @param options.quotaPaths pools on which quota may be turned on: those whose tenants are trusted, to whom alone it is of use
   */
  constructor(
    options: { readonly poolPaths?: readonly string[]; readonly quotaPaths?: readonly string[] } = {},
  ) {
    super(options);
    this.#quotaPaths = options.quotaPaths ?? [];
  }

  async probe(scratch: VolumePlace, signal: AbortSignal): Promise<BackendProbe> {
    return probeSubvolumes(scratch, this.#quotaPaths, signal);
  }

  async create(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<void> {
    refuseBlock(spec, 'a subvolume');
    await createSubvolume(place, spec, call.signal);
  }

  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void> {
    const { signal } = call;
    await whileOpen(openData(place, signal), async (data) => {
      if (data === undefined) throw missing(place, spec);
      await restoreLimit(await fileSystemOf(place, signal), data, spec, signal);
    });
    await this.bind(place, intent, call);
  }

  async usage(place: VolumePlace, spec: VolumeSpec, volumePath: string): Promise<readonly UsageEntry[]> {
    return subvolumeEntries(place, spec, volumePath);
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    const fault = await faultOfVolume(place, spec, AbortSignal.timeout(30_000));
    return fault === undefined
      ? { abnormal: false, message: 'the subvolume is there' }
      : { abnormal: true, message: fault };
  }

  async grow(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<Grown> {
    await this.#hold(place, spec, call);
    return { isMountBehind: false };
  }

  async sharesBlocks(): Promise<boolean> {
    return true;
  }

  async capture(source: CopySource, target: VolumePlace, wish: CopyWish, call: CallContext): Promise<Copied> {
    return {
      consistency: await copySubvolume(source, target, { readonly: true, wish, signal: call.signal }),
    };
  }

  async createFrom(
    source: CopySource,
    place: VolumePlace,
    spec: VolumeSpec,
    wish: CopyWish,
    call: CallContext,
  ): Promise<Copied> {
    refuseBlock(spec, 'a subvolume');
    const { signal } = call;
    if (spec.limit === 'enforced') await requireFullCounting(place, spec, signal);
    const consistency = await copySubvolume(source, place, {
      readonly: false,
      wish,
      signal,
      finish: (parent, copy, hasNested) => limitUnfinished(parent, copy, spec, signal, hasNested),
    });
    return { consistency };
  }

  async sizeOf(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined> {
    if (spec.limit !== 'enforced') return undefined;
    const signal = AbortSignal.timeout(30_000);
    return whileOpen(openData(place, signal), async (data) =>
      data === undefined ? undefined : heldSize(await fileSystemOf(place, signal), data, spec),
    );
  }

  async writtenBytes(place: VolumePlace): Promise<bigint | undefined> {
    return writtenBytesOf(place);
  }

  async ownBytes(place: VolumePlace): Promise<bigint | undefined> {
    return unsharedBytesOf(place);
  }

  async reshape(place: VolumePlace, _from: VolumeSpec, to: VolumeSpec, call: CallContext): Promise<void> {
    await this.#hold(place, to, call);
  }

  async discard(place: VolumePlace, signal: AbortSignal): Promise<void> {
    await discardSubvolumes(place, signal);
  }

  async #hold(place: VolumePlace, spec: VolumeSpec, { signal }: CallContext): Promise<void> {
    await whileOpen(openData(place, signal), async (data) => {
      if (data === undefined) throw missing(place, spec);
      await holdLimit(await fileSystemOf(place, signal), data, spec, signal);
    });
  }
}

/** Simple quota counts for a copy only what it writes itself: it could hold its source's bytes and its whole size beside. */
async function requireFullCounting(place: VolumePlace, spec: VolumeSpec, signal: AbortSignal): Promise<void> {
  const fileSystem = await fileSystemOf(place, signal);
  if (quotaState(fileSystem).mode !== 'simple') return;
  throw new StorageError(
    'limit-not-enforced',
    `simple quota on ${fileSystem.mountPoint} cannot hold the size of copy ${spec.id}, of which it counts only what is written anew; ` +
      'turn on full quota (btrfs quota disable, then enable), or accept it with limit: advisory',
  );
}
