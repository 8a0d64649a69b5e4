import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { readMounts } from '../../host/mountinfo.ts';
import { kindAt } from '../../host/path-facts.ts';
import { shownSpace } from '../../host/project-quota.ts';
import { createRootDirectory } from '../../host/volume-root.ts';
import type { CallContext, VolumeCondition } from '../../model/csi-driver.ts';
import { StorageError } from '../../model/errors.ts';
import type { UsageEntry } from '../../model/node-driver.ts';
import type { VolumeSpec } from '../../model/volume.ts';
import {
  dataName,
  type Backend,
  type BackendProbe,
  type Copied,
  type CopySource,
  type CopyWish,
  type Grown,
  type MountIntent,
  type VolumePlace,
} from '../backend.ts';
import { fileSystemEntries } from '../file-system-entries.ts';
import { MountedDirectory } from '../mounted-directory.ts';
import { poolFault } from '../pool-fault.ts';
import { refuseBlock } from '../refuse-block.ts';
import { rootOwnerOf } from '../root-owner.ts';
import { copyDirectory, unfinishedName } from './copy-directory.ts';
import { probeDirectories } from './probe.ts';
import { heldSize, Projects, quotaFault } from './projects.ts';

/**
 * A volume is a directory of the pool's file system. Its size is held by a project quota where the pool has one and `limit` asks for it.
 */
export class DirectoryBackend extends MountedDirectory implements Backend {
  readonly name = 'directory';
  readonly #projects = new Projects();

  async probe(scratch: VolumePlace, signal: AbortSignal): Promise<BackendProbe> {
    return probeDirectories(scratch, this.#projects, this.poolPaths, signal);
  }

  async create(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<void> {
    refuseBlock(spec, 'a directory');
    await createRootDirectory(place.path, dataName, rootOwnerOf(spec), this.#limiting(spec, call));
  }

  async stage(place: VolumePlace, spec: VolumeSpec, intent: MountIntent, call: CallContext): Promise<void> {
    const source = join(place.path, dataName);
    if ((await kindAt(source)) !== 'directory') throw missing(place, spec);
    await this.bind(place, intent, call);
  }

  async usage(_place: VolumePlace, _spec: VolumeSpec, volumePath: string): Promise<readonly UsageEntry[]> {
    // a limited directory is answered for by its quota, any other by the pool's whole file system
    return fileSystemEntries(volumePath);
  }

  async condition(place: VolumePlace, spec: VolumeSpec): Promise<VolumeCondition> {
    if ((await kindAt(join(place.path, dataName))) !== 'directory') {
      return { abnormal: true, message: missing(place, spec).message };
    }
    const quota = spec.limit === 'enforced' ? await quotaFault(place, spec) : undefined;
    const fault = poolFault(await readMounts(), await realpath(place.path)) ?? quota;
    return fault === undefined
      ? { abnormal: false, message: 'the directory is there' }
      : { abnormal: true, message: fault };
  }

  /** Without a limit a directory has the pool's size already, and what it is promised is the caller's account. */
  async grow(place: VolumePlace, spec: VolumeSpec, call: CallContext): Promise<Grown> {
    if (spec.limit === 'enforced') await this.#projects.change(place, spec.sizeBytes, call.signal);
    return { isMountBehind: false };
  }

  async growMounted(): Promise<void> {
    // nothing is mounted that has a size of its own
  }

  async capture(source: CopySource, target: VolumePlace, wish: CopyWish, call: CallContext): Promise<Copied> {
    return copyDirectory(source, target, { wish, signal: call.signal });
  }

  async createFrom(
    source: CopySource,
    place: VolumePlace,
    spec: VolumeSpec,
    wish: CopyWish,
    call: CallContext,
  ): Promise<Copied> {
    refuseBlock(spec, 'a directory');
    const { signal } = call;
    const prepare = this.#limiting(spec, call);
    const check = (path: string) => this.#projects.check(path, signal);
    return copyDirectory(source, place, {
      wish,
      signal,
      prepare,
      ...(spec.limit === 'enforced' ? { check } : {}),
    });
  }

  async sizeOf(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined> {
    return spec.limit === 'enforced' ? heldSize(place) : undefined;
  }

  /** What its quota counts; without one only who walks the tree knows. */
  async writtenBytes(place: VolumePlace, spec: VolumeSpec): Promise<bigint | undefined> {
    const { totalBytes, usedBytes } = await shownSpace(join(place.path, dataName));
    const isLimited = spec.limit === 'enforced' && totalBytes <= spec.sizeBytes;
    return isLimited ? usedBytes : undefined;
  }

  /** @throws StorageError 'limit-not-enforced' for a volume that was made without a limit: its files are in no project */
  async reshape(place: VolumePlace, _from: VolumeSpec, to: VolumeSpec, call: CallContext): Promise<void> {
    await this.#projects.change(place, to.limit === 'enforced' ? to.sizeBytes : undefined, call.signal);
  }

  /** Files can be removed as they are; only the limit would stay. */
  async discard(place: VolumePlace, signal: AbortSignal): Promise<void> {
    await this.#projects.end(place, [dataName, unfinishedName], signal);
  }

  #limiting(spec: VolumeSpec, call: CallContext): (path: string) => Promise<void> {
    if (spec.limit !== 'enforced') return async () => {};
    return (path) => this.#projects.begin(path, spec.sizeBytes, call.signal);
  }
}

function missing(place: VolumePlace, spec: VolumeSpec): StorageError {
  return new StorageError(
    'data-loss',
    `the directory ${join(place.path, dataName)} of volume ${spec.id} is gone; restore it or delete the volume`,
  );
}
